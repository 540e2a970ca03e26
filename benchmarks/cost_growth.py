"""How the cost of a score grows with frames, clips in flight and environments: `python -m benchmarks.cost_growth`.

CPU time in one thread (median of a few rounds) and the peak of what Python and NumPy allocate (`tracemalloc`; torch's own memory is
not in it) of roboreward-nano on frames of 96x160 at 5 Hz:

- frames: one episode of so many frames, recorded and scored;
- clips in flight: so many episodes that end together, their deferred scores waited for;
- environments: a step of so many recorded environments, without a score.

The exponent is the slope of a line through the logarithms: at most 1 is linear or better. Rows go to
`benchmarks/results/cost_growth.json`, the plot to `docs/images/cost_growth.png`.
"""

import gc
import json
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium as gym
import matplotlib.pyplot as plt
import numpy as np
import torch
from tqdm import tqdm

from benchmarks.deferred_scoring import Noise
from roboreward_gym import RewardModel, VLMRewardVectorWrapper, VLMRewardWrapper, load_reward_model

RESULTS = Path(__file__).parent / "results" / "cost_growth.json"
PLOT = Path(__file__).parents[1] / "docs" / "images" / "cost_growth.png"
FRAMES = (8, 32, 128, 512)
CLIPS = (1, 4, 16, 32)
ENVS = (1, 4, 16, 64)
STEPS = 8
ROUNDS = 3
LINEAR = 1.1
"""Largest exponent that counts as linear: a measured one has an error."""
AXES = {
    "frames": "frames of an episode",
    "clips": "clips in flight",
    "environments": "environments, a step",
}


@dataclass(frozen=True)
class Row:
    """One point."""

    axis: str
    count: int
    cpu_ms: float
    peak_mib: float


class Still(Noise):
    """Small frames; ends after `steps`."""

    def __init__(self, steps: int = STEPS) -> None:
        self._last = steps
        self._picture = np.random.default_rng(0).integers(0, 256, (96, 160, 3), np.uint8)

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Do nothing."""
        self._steps += 1
        return np.zeros(1, np.float32), 0.0, False, self._steps == self._last, {}

    def render(self) -> np.ndarray:
        """The picture, in other colours each time and everywhere: of equal frames ours sees one only."""
        return self._picture + self.np_random.integers(0, 256, dtype=np.uint8)


def episode(count: int, model: RewardModel) -> Callable[[], None]:
    """Record and score an episode of so many frames."""
    env = VLMRewardWrapper(Still(count - 1), model, "lift the cup")

    def work() -> None:
        env.reset(seed=0)
        for _ in range(count - 1):
            env.step(0)

    return work


def vector(count: int, model: RewardModel, steps: int = STEPS) -> VLMRewardVectorWrapper:
    """So many environments that end together; their scores come with the next reset."""
    envs = gym.vector.SyncVectorEnv([lambda: Still(steps)] * count)
    return VLMRewardVectorWrapper(envs, model, "lift the cup", scoring="deferred")


def in_flight(count: int, model: RewardModel) -> Callable[[], None]:
    """Score so many episodes that ended together."""
    envs, actions = vector(count, model), np.zeros(count, int)

    def work() -> None:
        envs.reset(seed=0)
        for _ in range(STEPS):
            envs.step(actions)
        envs.reset(seed=0)  # waits for the scores

    return work


def step_of(count: int, model: RewardModel) -> Callable[[], None]:
    """A step of so many environments, none of which ends."""
    envs, actions = vector(count, model, steps=10_000), np.zeros(count, int)
    envs.reset(seed=0)

    def steps() -> None:
        for _ in range(STEPS):
            envs.step(actions)

    return steps


def measure(axis: str, count: int, work: Callable[[], None], calls: int = 1) -> Row:
    """CPU time of one of `calls` and peak memory of the work; it is done once before."""
    work()
    times = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        work()
        times.append(1e3 * (time.process_time() - begin) / calls)
    gc.collect()
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return Row(axis, count, round(median(times), 3), round(peak, 2))


def exponent(rows: list[Row]) -> float:
    """Slope of the logarithm of the time over that of the count."""
    counts, times = np.log([row.count for row in rows]), np.log([row.cpu_ms for row in rows])
    return round(float(np.polyfit(counts, times, 1)[0]), 2)


def draw(rows: list[Row], path: Path) -> None:
    """Time above, memory below; a grey line is linear growth from the first point."""
    figure, axes = plt.subplots(2, len(AXES), figsize=(11, 5.5), layout="constrained")
    for column, (axis, label) in enumerate(AXES.items()):
        chosen = [row for row in rows if row.axis == axis]
        counts = np.array([row.count for row in chosen])
        for line, (name, unit) in enumerate((("cpu_ms", "CPU time [ms]"), ("peak_mib", "peak memory [MiB]"))):  # fmt: skip
            values = np.array([getattr(row, name) for row in chosen])
            place = axes[line, column]
            place.loglog(counts, values[0] * counts / counts[0], color="0.75", label="linear")
            place.loglog(counts, values, "o-", color="tab:blue", label="measured")
            place.set_xticks(counts, [str(count) for count in counts])
            place.minorticks_off()
            place.set_xlabel(label)
            if column == 0:
                place.set_ylabel(unit)
    axes[0, 0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, write and draw."""
    torch.set_num_threads(1)
    model = load_reward_model("roboreward-nano?abstain=never")
    jobs = [
        *(("frames", n, episode(n, model), 1) for n in FRAMES),
        *(("clips", n, in_flight(n, model), 1) for n in CLIPS),
        *(("environments", n, step_of(n, model), STEPS) for n in ENVS),
    ]
    rows = [measure(*job) for job in tqdm(jobs, unit="point")]
    growth = {axis: exponent([row for row in rows if row.axis == axis]) for axis in AXES}
    report = {
        "model": "roboreward-nano",
        "exponents": growth,
        "linear_or_better": {axis: value <= LINEAR for axis, value in growth.items()},
        "rows": [asdict(row) for row in rows],
    }
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    draw(rows, PLOT)
    print(json.dumps(growth))


if __name__ == "__main__":
    main()
