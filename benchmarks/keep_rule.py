"""How often the fine-tuned policy is kept, by simulated rewards: `python -m benchmarks.keep_rule`.

Each simulated run draws the rewards of its warm-up and of its validation and asks `policies.dsrl.training.decide`. A reward that means
nothing draws both from one distribution, whatever the policies do, so no training needs to be simulated.
"""

from collections.abc import Callable

import numpy as np
from tqdm import trange

from benchmarks.foundations import record
from policies.dsrl.config import DsrlConfig
from policies.dsrl.training import decide

RUNS = 2_000
Rewards = Callable[[np.random.Generator, int], np.ndarray]


def random_level(rng: np.random.Generator, count: int) -> np.ndarray:
    """Rewards of a reward model that gives a random level, under the map `progress`."""
    return rng.integers(0, 5, count) / 4


def success(rate: float) -> Rewards:
    """Rewards of a policy that succeeds at this rate, under the map `binary`."""
    return lambda rng, count: (rng.random(count) < rate).astype(np.float64)


def one_scored(rng: np.random.Generator, count: int) -> np.ndarray:
    """One episode with the best reward, all others without a score."""
    return rng.permutation(np.array([1.0, *[np.nan] * (count - 1)]))


def kept_rate(
    base: Rewards, tuned: Rewards, runs: int, warm_up: int, validation: int, seed: int = 0
) -> float:
    """Share of simulated runs that keep the fine-tuned policy."""
    rng = np.random.default_rng(seed)
    kept = [
        decide(base(rng, warm_up), tuned(rng, validation)).improved
        for _ in trange(runs, desc="simulated runs", leave=False)
    ]
    return float(np.mean(kept))


def main() -> None:
    """Measure the rates of the default settings, and of smaller ones, and keep them."""
    config = DsrlConfig()
    sizes = [(config.warm_up_episodes, config.validation_episodes), (20, 20), (20, 40)]
    rows = [
        {
            "warm_up_episodes": warm_up,
            "validation_episodes": validation,
            "runs": RUNS,
            "false_positive_rate": kept_rate(random_level, random_level, RUNS, warm_up, validation),
            "false_positive_rate_binary": kept_rate(
                success(0.3), success(0.3), RUNS, warm_up, validation
            ),
            "worse_kept_rate": kept_rate(success(0.3), success(0.2), RUNS, warm_up, validation),
            "one_scored_kept_rate": kept_rate(random_level, one_scored, RUNS, warm_up, validation),
            "detection_rate": kept_rate(success(0.3), success(0.6), RUNS, warm_up, validation),
            "detection_rate_30_to_75": kept_rate(
                success(0.3), success(0.75), RUNS, warm_up, validation
            ),
        }
        for warm_up, validation in sizes
    ]
    default, *smaller = rows
    record(gate={**default, "significance": config.significance, "smaller": smaller})
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
