"""How far people agree with one another, and with reward models: `roboreward agreement FOLDER --models roboreward-nano`.

Quadratic weighted kappa (1: equal, 0: as by chance) and mean absolute error in levels, with 95 % intervals by bootstrap over videos.
"""

import itertools
import json
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from scipy.stats import bootstrap
from sklearn.metrics import cohen_kappa_score
from tqdm import tqdm

from reward_models.data.video_file import video_of, whole_file
from reward_models.labeling.folder import LabelFolder, level_of
from roboreward_gym._cli import run_program
from roboreward_gym.errors import InvalidSetting, RoboRewardError
from roboreward_gym.registry import load_reward_model
from roboreward_gym.scorer import outcomes
from roboreward_gym.types import LEVELS, ProgressScore

PEOPLE = "people"
"""Name of what several people say together: the lower median of their levels."""
RESAMPLES = 999
Interval = tuple[float, float]


@dataclass(frozen=True)
class AgreementConfig:
    """Whose ratings to compare."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of `roboreward label`."""
    models: tuple[str, ...] = ()
    """Names of reward models that rate the same videos."""
    out: Path | None = None
    """JSON file for the report."""
    seed: int = 0
    """Seed of the bootstrap."""


@dataclass(frozen=True)
class Agreement:
    """How far two agree on the videos that both could rate.

    Attributes:
        first: A person, or `people` together.
        second: Another person, or a reward model.
        videos: Videos with a level of both.
        kappa: Quadratic weighted kappa; None if both gave one and the same level throughout.
        kappa_interval: Its 95 % interval; None where it cannot be computed.
        mae: Mean absolute error in levels.
        mae_interval: Its 95 % interval.
    """

    first: str
    second: str
    videos: int
    kappa: float | None
    kappa_interval: Interval | None
    mae: float
    mae_interval: Interval | None


Levels = Mapping[str, int]
"""Video -> level."""


def compare(first: str, ours: Levels, second: str, theirs: Levels, seed: int = 0) -> Agreement:
    """Compare two on the videos that both gave a level.

    Raises:
        InvalidSetting: There is no such video.
    """
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        raise InvalidSetting(f"{first} and {second} have no video in common.")
    a, b = (np.array([levels[name] for name in common]) for levels in (ours, theirs))
    kappa = quadratic_kappa(a, b)
    return Agreement(
        first,
        second,
        len(common),
        None if math.isnan(kappa) else kappa,
        _interval(quadratic_kappa, a, b, seed),
        float(np.abs(a - b).mean()),
        _interval(lambda x, y: float(np.abs(x - y).mean()), a, b, seed),
    )


def quadratic_kappa(a: np.ndarray, b: np.ndarray) -> float:
    """Cohen's kappa of levels `(N,)` and `(N,)` in 1..5, with quadratic weights; NaN if all levels are one and the same."""
    if len({*a.tolist(), *b.tolist()}) == 1:
        return math.nan
    return float(cohen_kappa_score(a, b, labels=LEVELS, weights="quadratic"))


def _interval(
    statistic: Callable[[np.ndarray, np.ndarray], float], a: np.ndarray, b: np.ndarray, seed: int
) -> Interval | None:
    """95 % percentile interval over videos, or None with fewer than two."""
    if len(a) < 2:
        return None
    with (
        warnings.catch_warnings()
    ):  # a resample of one level only has no kappa, which makes the interval NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        found = bootstrap(
            (a, b), statistic, paired=True, vectorized=False, n_resamples=RESAMPLES, method="percentile",
            rng=np.random.default_rng(seed),
        )  # fmt: skip
    values = np.asarray(found.bootstrap_distribution)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def levels_of_people(folder: LabelFolder) -> dict[str, Levels]:
    """Return the levels of each person by name, without videos that the person could not rate."""
    found: dict[str, dict[str, int]] = {}
    for rating in folder.ratings():
        levels = found.setdefault(rating.rater, {})
        if rating.level is not None:
            levels[rating.video] = rating.level
    return dict(found)


def levels_of_all(folder: LabelFolder) -> Levels:
    """Return the level of all people together, for each video."""
    rated = folder.ratings_of(folder.videos())
    levels = {name: level_of(ratings) for name, ratings in rated.items()}
    return {name: level for name, level in levels.items() if level is not None}


def levels_of_model(folder: LabelFolder, name: str, videos: Sequence[str]) -> Levels:
    """Ask a reward model about videos; those that it gives no level are left out, with a line about why."""
    model, known = load_reward_model(name), folder.videos()
    found: dict[str, int] = {}
    for video in tqdm(videos, desc=name, unit=" videos"):
        clip = video_of(folder.path / known[video].file).read().clip(known[video].task)
        outcome = outcomes(model, [clip])[0]
        if isinstance(outcome, ProgressScore) and outcome.level is not None:
            found[video] = outcome.level
        else:
            why = (
                outcome if isinstance(outcome, RoboRewardError) else f"unreadable: {outcome.text!r}"
            )
            tqdm.write(f"{name} gives no level for {video}: {why}", file=sys.stderr)
    return found


def report(folder: LabelFolder, models: Sequence[str] = (), seed: int = 0) -> Iterator[Agreement]:
    """Compare each pair of people, then people together with each reward model.

    Raises:
        InvalidSetting: Nothing is rated.
    """
    together = levels_of_all(folder)
    if not together:
        raise InvalidSetting(
            f"No video in {folder.path} has a level yet. Rate some with `roboreward label`."
        )
    people = levels_of_people(folder)
    for first, second in itertools.combinations(sorted(people), 2):
        if people[first].keys() & people[second].keys():
            yield compare(first, people[first], second, people[second], seed)
    for name in models:
        yield compare(PEOPLE, together, name, levels_of_model(folder, name, list(together)), seed)


def main(argv: list[str]) -> int:
    """Print a line per pair, and write the report."""
    config = tyro.cli(AgreementConfig, args=argv, prog="roboreward agreement", description=__doc__)
    if not config.folder.is_dir():
        raise InvalidSetting(
            f"There is no folder {config.folder}. Make it with `roboreward label`."
        )
    rows = list(report(LabelFolder(config.folder), config.models, config.seed))
    if not rows:
        raise InvalidSetting(
            "Only one person has rated, and no --models are given: there is nothing to compare."
        )
    for row in rows:
        kappa = "none" if row.kappa is None else f"{row.kappa:.2f}{_text(row.kappa_interval)}"
        sys.stdout.write(
            f"{row.first} and {row.second}: kappa {kappa}, mean absolute error "
            f"{row.mae:.2f}{_text(row.mae_interval)} over {row.videos} videos\n"
        )
    if config.out is not None:
        text = json.dumps({"rows": [asdict(row) for row in rows]}, indent=2)
        with whole_file(config.out) as beside:
            beside.write_text(text + "\n", encoding="utf-8")
    return 0


def _text(interval: Interval | None) -> str:
    return "" if interval is None else f" [{interval[0]:.2f}, {interval[1]:.2f}]"


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
