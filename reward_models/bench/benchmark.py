"""Measure a reward model on labelled clips: `roboreward bench --model NAME --data DIR --out FILE.json`.

The reward model scores the clips as it would in a wrapper, from their pixels. The numbers are written as JSON, and the
confusion of predicted and true levels as a picture beside it. An answer that cannot be read counts as an error of 4, as
in RoboRewardBench, and is counted in `unreadable_count`. An example without any answer is left out and counted in `failed_count`; the exit status is then 1.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from reward_models.data.reward_data import RewardData, Split
from reward_models.model_options import ModelOptions, options_into_name, resolve_folder
from roboreward_gym._cli import keep_freed_memory, run_program
from roboreward_gym.errors import InvalidSetting
from roboreward_gym.registry import load_reward_model
from roboreward_gym.types import RewardModel

DETAILS = ("confusion", "mae_by_subset", "mae_by_level")
"""Numbers that are written to the file but not printed."""


@dataclass(frozen=True)
class BenchmarkConfig:
    """What to measure."""

    model: str
    """Name of any reward model, for example roboreward-nano, constant:3, checkpoint:FOLDER_OR_HUB_ID, openai:MODEL or
    remote:http://HOST:PORT; a folder alone is a checkpoint."""
    data: tuple[Path, ...]
    """Data folders."""
    out: Path
    """JSON file to write; the picture gets the same name with `.png`."""
    options: tyro.conf.OmitArgPrefixes[ModelOptions] = field(default_factory=ModelOptions)
    """How local models are loaded, both of them."""
    no_negatives: str | None = None
    """Second reward model, measured on the same examples: for the model card, one trained without negatives."""
    split: Split = "test"
    """Split of the data."""
    limit: int | None = None
    """Score this many examples only, drawn in proportion from every subset (scene and kind)."""
    seed: int = 0
    """Seed of that draw."""
    batch_size: int = 16
    """Clips scored in one call."""
    threads: int | None = None
    """CPU threads of torch; its own choice by default."""

    def __post_init__(self) -> None:
        for name in ("limit", "batch_size", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidSetting(f"{name} is {value}. Choose 1 or more.")


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
    from reward_models.bench.measure import measure, plot_confusion

    keep_freed_memory()
    if config.threads is not None:
        import torch

        torch.set_num_threads(config.threads)
    data = RewardData.open(config.data, config.split)
    draw = {"limit": config.limit, "seed": config.seed, "batch_size": config.batch_size}
    result = {
        "model": config.model,
        "split": config.split,
        "seed": config.seed,
        **measure(load_named_model(config.model), data, **draw),
    }
    config.out.parent.mkdir(parents=True, exist_ok=True)
    _write(config.out, result)  # before the second model, which may fail
    if config.no_negatives is not None:
        result["no_negatives"] = measure(load_named_model(config.no_negatives), data, **draw)
        _write(config.out, result)
    picture = config.out.with_suffix(".png")
    plot_confusion(np.array(result["confusion"]), picture, f"{config.model}, {config.split}")
    return result


def main(argv: list[str] | None = None) -> int:
    """Measure one reward model, as the command line says; 1 if an example got no score, else 0."""
    config = tyro.cli(BenchmarkConfig, args=argv, prog="roboreward bench", description=__doc__)
    result = run(options_into_name(config, ("model", "no_negatives")))
    summary = {k: v for k, v in result.items() if k not in DETAILS and not isinstance(v, dict)}
    tqdm.write(json.dumps(_without_nan(summary), indent=2))
    return int(any(part.get("failed_count") for part in (result, result.get("no_negatives", {}))))


def _write(path: Path, result: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(_without_nan(result), indent=2) + "\n", encoding="utf-8")


def _without_nan(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Put null where there is nothing to average, because JSON has no NaN."""
    cleaned = {}
    for name, value in numbers.items():
        if isinstance(value, Mapping):
            cleaned[name] = _without_nan(value)
        else:
            undefined = isinstance(value, float) and math.isnan(value)
            cleaned[name] = None if undefined else value
    return cleaned


if __name__ == "__main__":
    run_program(main)
