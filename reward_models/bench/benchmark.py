"""Measure a reward model on labelled clips: `roboreward bench --model NAME --data DATA --out FILE.json`.

DATA is a folder of simulated reward data, a folder in the published RoboReward layout, or KIND:PATH such as csv:videos.csv.
The reward model scores the videos as it would in a wrapper, from their pixels. The numbers are written as JSON, with a page
(`.html`) and the confusion of predicted and true levels (`.png`) beside it. An answer that cannot be read counts as an error
of 4, as in RoboRewardBench, and is counted in `unreadable_count`. An example without any answer is left out and counted in
`failed_count`; the exit status is then 1. Answers are kept in `.answers.jsonl`: the same command goes on where it was stopped.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from reward_models.data.reward_data import Split
from reward_models.json_lines import without_nan
from reward_models.model_options import ModelOptions, options_into_name, resolve_folder
from roboreward_gym._cli import keep_freed_memory, run_program
from roboreward_gym.errors import InvalidSetting
from roboreward_gym.registry import load_reward_model
from roboreward_gym.types import RewardModel


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure."""

    model: str
    """Name of any reward model, for example roboreward-nano, constant:3, checkpoint:FOLDER_OR_HUB_ID, openai:MODEL or
    remote:http://HOST:PORT; a folder alone is a checkpoint."""
    data: tuple[str, ...]
    """Folders of reward data, folders in the published layout, or KIND:PATH."""
    out: Path
    """JSON file to write; page, picture and answers get the same name with another ending."""
    options: tyro.conf.OmitArgPrefixes[ModelOptions] = field(default_factory=ModelOptions)
    """How local models are loaded, all of them."""
    against: str | None = None
    """Second reward model, compared on the same examples: differences with paired intervals."""
    no_negatives: str | None = None
    """Second reward model, measured on the same examples: for the model card, one trained without negatives."""
    controls: bool = False
    """Also score changed videos whose right answer is known, and measure two models that see almost nothing."""
    split: Split = "test"
    """Split of the data."""
    limit: int | None = None
    """Score this many examples only, drawn in proportion from every subset."""
    seed: int = 0
    """Seed of that draw, of the controls and of the intervals."""
    batch_size: int = 16
    """Clips scored in one call; more where one video has more tasks."""
    bootstrap: int = 1000
    """Draws for the 95 % intervals; 0 leaves them out."""
    threads: int | None = None
    """CPU threads of torch; its own choice by default."""

    def __post_init__(self) -> None:
        for name in ("limit", "batch_size", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidSetting(f"{name} is {value}. Choose 1 or more.")
        if self.bootstrap < 0:
            raise InvalidSetting(f"bootstrap is {self.bootstrap}. Choose 0 or more.")


def load_named_model(name: str) -> RewardModel:
    """Load a reward model by its name, or a checkpoint by its folder.

    Raises:
        UnknownName: Neither a name nor a folder; suggests the closest name.
        RewardModelUnavailable: What it needs is not installed.
    """
    return load_reward_model(resolve_folder(name))


def run(config: BenchmarkConfig) -> dict[str, Any]:
    """Measure what `config` says, write the files and return the numbers."""
    # scikit-learn and torch take seconds to import: only once it is known that there is something to measure.
    from reward_models.bench.answers import AnswerLog
    from reward_models.bench.control_run import run_controls
    from reward_models.bench.measure import difference, measure, plot_confusion
    from reward_models.bench.page import write_page
    from reward_models.bench.questions import open_questions

    keep_freed_memory()
    if config.threads is not None:
        import torch

        torch.set_num_threads(config.threads)
    everything = open_questions(config.data, config.split)
    questions = everything.sample(config.limit, config.seed)

    def answers_of(name: str, part: str = "") -> AnswerLog:
        path = config.out.with_suffix(f"{part}.answers.jsonl")
        return AnswerLog(path, name, everything.fingerprint())

    draws = {"bootstrap": config.bootstrap, "seed": config.seed}
    model, log = load_named_model(config.model), answers_of(config.model)
    how = {"batch_size": config.batch_size, **draws}
    result = {
        "model": config.model,
        "data": list(config.data),
        "split": config.split,
        "seed": config.seed,
        **measure(model, questions, log=log, **how),
    }
    _write(config.out, result)  # before what may fail
    if config.against is not None:
        other = answers_of(config.against, ".against")
        numbers = measure(load_named_model(config.against), questions, log=other, **how)
        result["against"] = {"model": config.against, **numbers}
        result["difference"] = difference(questions, log, other, **draws)
    if config.no_negatives is not None:
        second = answers_of(config.no_negatives, ".no-negatives")
        result["no_negatives"] = measure(
            load_named_model(config.no_negatives), questions, log=second, **how
        )
    if config.controls:
        result["controls"] = run_controls(
            model, questions, log, answers_of(config.model, ".controls"), **how
        )
    _write(config.out, result)
    picture = config.out.with_suffix(".png")
    plot_confusion(np.array(result["confusion"]), picture, f"{config.model}, {config.split}")
    write_page(config.out.with_suffix(".html"), result)
    return result


def main(argv: list[str] | None = None) -> int:
    """Measure one reward model, as the command line says; 1 if an example got no score, else 0."""
    config = tyro.cli(BenchmarkConfig, args=argv, prog="roboreward bench", description=__doc__)
    result = run(options_into_name(config, ("model", "against", "no_negatives")))
    summary = {k: v for k, v in result.items() if not isinstance(v, dict | list)}
    tqdm.write(json.dumps(without_nan(summary), indent=2))
    tqdm.write(f"Page: {config.out.with_suffix('.html')}")
    parts = [result, *(result.get(name, {}) for name in ("no_negatives", "against", "controls"))]
    return int(any(part.get("failed_count") for part in parts))


def _write(path: Path, result: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(without_nan(result), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_program(main)
