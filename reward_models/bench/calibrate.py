"""Find where a score counts as success for one task: `roboreward calibrate --model NAME --data csv:episodes.csv --out FILE.json`.

From a few labelled episodes (15 successes, which have level 5, and 15 failures are a start) it takes the threshold on the mean
level or on the probability of 5 that finds most successes at the chosen false-positive rate. The file goes to
`VLMRewardWrapper(reward_map="calibrated:FILE.json")`, to `roboreward score --calibration FILE.json` and to the experiments'
`--reward-map`. Answers are kept beside it, so that another rate costs nothing.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tyro
from tqdm import tqdm

from reward_models.data.reward_data import Split
from reward_models.model_options import ModelOptions, options_into_name
from roboreward_gym._cli import keep_freed_memory, run_program
from roboreward_gym.errors import InvalidSetting
from roboreward_gym.operating_point import OperatingPoint


@dataclass(frozen=True)
class CalibrateConfig:
    """What to fit."""

    model: str
    """Name of any reward model."""
    data: tuple[str, ...]
    """Labelled episodes: csv:FILE with the columns video, task and reward, or any other data of roboreward bench."""
    out: Path
    """File of the operating point."""
    options: tyro.conf.OmitArgPrefixes[ModelOptions] = field(default_factory=ModelOptions)
    """How a local model is loaded."""
    task: str | None = None
    """Task to take, if the data has several."""
    max_false_positive_rate: float = 0.05
    """Largest share of failures that may count as success, in the data."""
    statistic: Literal["auto", "expected", "success_probability"] = "auto"
    """Number that gets the threshold: the mean level or the probability of 5; the better one by default."""
    temperature: bool = False
    """Also fit a temperature, under which the true levels are likeliest."""
    split: Split = "test"
    """Split of the data."""
    seed: int = 0
    """Seed of the draws for the intervals."""
    batch_size: int = 16
    """Clips scored in one call."""

    def __post_init__(self) -> None:
        if not 0 <= self.max_false_positive_rate < 1:
            raise InvalidSetting(
                f"max_false_positive_rate is {self.max_false_positive_rate}. Choose 0 or more, and less than 1."
            )
        if self.batch_size < 1:
            raise InvalidSetting(f"batch_size is {self.batch_size}. Choose 1 or more.")


def run(config: CalibrateConfig) -> OperatingPoint:
    """Score the episodes, fit, and write the file.

    Raises:
        InvalidBenchmark: No successes, no failures, several tasks, or no threshold that finds a success.
        RoboRewardError: No episode got a score.
    """
    import numpy as np

    from reward_models.bench.answers import AnswerLog, arrays
    from reward_models.bench.ask import ask
    from reward_models.bench.benchmark import load_named_model
    from reward_models.bench.calibration import Labelled, fit, fit_temperature, trust
    from reward_models.bench.questions import InvalidBenchmark, open_questions

    keep_freed_memory()
    questions = open_questions(config.data, config.split).of_task(config.task)
    log = AnswerLog(config.out.with_suffix(".answers.jsonl"), config.model, questions.fingerprint())
    error = ask(load_named_model(config.model), questions, log, batch_size=config.batch_size)
    rows = [row for row in questions.rows if row.key in log.answers]
    if not rows and error is not None:
        raise error
    answers = [log.answers[row.key] for row in rows]
    levels, probabilities = arrays(answers)
    data = Labelled(
        levels, probabilities, np.array([r.level for r in rows]), tuple(r.unit for r in rows)
    )
    temperature = fit_temperature(data) if config.temperature else 1.0
    found = fit(data, config.max_false_positive_rate, config.statistic, temperature)
    if found is None:
        raise InvalidBenchmark(
            f"No threshold finds a success at a false-positive rate of {config.max_false_positive_rate:g} or less: "
            "some failures have the highest scores. Allow a larger rate, or use another reward model."
        )
    about = {"task": rows[0].task, "data": list(config.data), "episodes": len(rows)}
    report = trust(
        data, found, config.max_false_positive_rate, temperature=temperature, seed=config.seed
    )
    point = OperatingPoint(
        model=config.model,
        statistic=found.statistic,
        threshold=found.threshold,
        temperature=temperature,
        weights_sha256=answers[0].weights,
        about={**about, "not_answered": len(questions) - len(rows), **report},
    )
    point.save(config.out)
    return point


def main(argv: list[str] | None = None) -> int:
    """Fit what the command line says; 1 if an episode got no score, else 0."""
    config = tyro.cli(CalibrateConfig, args=argv, prog="roboreward calibrate", description=__doc__)
    point = run(options_into_name(config))
    about: dict[str, Any] = dict(point.about)
    warnings = about.pop("warnings")
    shown = {"statistic": point.statistic, "threshold": point.threshold, **about}
    tqdm.write(json.dumps(shown, indent=2))
    for warning in warnings:
        tqdm.write(f"Warning: {warning}", file=sys.stderr)
    tqdm.write(f'Use it: VLMRewardWrapper(..., reward_map="calibrated:{config.out}")')
    return int(about["not_answered"] > 0)


if __name__ == "__main__":
    run_program(main)
