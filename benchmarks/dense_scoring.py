"""Scoring the prefixes of one episode in one call beside one call each: `python -m benchmarks.dense_scoring`.

An episode of 40 steps of the simulated WidowX, played by the scripted expert, is scored by nano after every fourth step, and after
each step. The scores must be equal. Reported are the CPU time of both ways in one thread, the wall time of the single call on all cores
that are free, and how many temporal patches the vision tower saw of those that the prefixes have. The last row is the case in which clips do
share their frames: one episode, scored for ten tasks. `python -m benchmarks.dense_scoring tasks` measures that one alone.
"""

import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from benchmarks.side_by_side import compare, record_row
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym import Clip, load_reward_model
from robots.sim.experts import ScriptedExpert
from robots.widowx import widowx

COMMAND = "python -m benchmarks.dense_scoring"
STEPS = 40
ENV = "robots:WidowXToyOnTowel-v0"
ROUNDS = 3
TASKS = 10


def episode() -> Clip:
    """Play the first `STEPS` steps."""
    env = gym.make(ENV)
    observation, _ = env.reset(seed=0)
    task = widowx(env).task
    expert = ScriptedExpert(widowx(env), task, np.random.default_rng(0))
    frames = [observation["image"]]
    for _ in range(STEPS):
        frames.append(env.step(expert.act())[0]["image"])
    env.close()
    return Clip(np.stack(frames), task, 5.0)


def seen_by_the_tower(model: RoboReward, work: Callable[[], Any]) -> int:
    """Temporal patches that the tower saw meanwhile."""
    seen: list[int] = []
    hook = model.model.model.visual.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(int(kwargs["grid_thw"][:, 0].sum())), with_kwargs=True
    )
    work()
    hook.remove()
    return sum(seen)


def wall_ms(work: Callable[[], Any]) -> float:
    """Median wall time."""
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - begin))
    return round(median(times), 1)


def check_equal(model: RoboReward, prefixes: Sequence[Clip]) -> None:
    """Refuse to report anything about scores that differ."""
    for together, clip in zip(model.score(prefixes), prefixes, strict=True):
        (alone,) = model.score([clip])
        a, b = together.probabilities, alone.probabilities
        if a is None or b is None or not np.array_equal(a, b):
            raise SystemExit("A prefix has another score in a call with others.")


def measure(every: int, clip: Clip, model: RoboReward) -> dict[str, Any]:
    """Both ways, after every so many steps."""
    steps = range(every, STEPS + 1, every)
    return beside(model, [Clip(clip.frames[: n + 1], clip.task, clip.fps) for n in steps])


def beside(model: RoboReward, clips: Sequence[Clip]) -> dict[str, Any]:
    """All in one call, and one call each."""
    check_equal(model, clips)

    def together() -> Any:
        return model.score(clips)

    def apart() -> Any:
        return [model.score([clip]) for clip in clips]

    measured = compare(together, apart, rounds=ROUNDS, repeats=1)
    walls = {"ours_wall_ms": wall_ms(together), "peer_wall_ms": wall_ms(apart)}
    patches = {
        "patches_seen": seen_by_the_tower(model, together),
        "patches_in_all": seen_by_the_tower(model, apart),
    }
    return {**measured, **walls, **patches, "scores_equal": True}


def main() -> None:
    """Measure and record."""
    torch.set_num_threads(1)
    model = load_reward_model("roboreward-nano?abstain=never")
    assert isinstance(model, RoboReward)
    clip = episode()
    for every in () if "tasks" in sys.argv else (4, 1):
        points = STEPS // every
        record_row(
            f"dense scoring of {STEPS} steps at {points} points",
            f"{points} separate scores",
            "",
            measure(every, clip, model),
            goal=3.0,
            command=COMMAND,
        )
    tasks = [f"put the object on the towel, way {number}" for number in range(TASKS)]
    record_row(
        f"scores of one episode for {TASKS} tasks",
        f"{TASKS} separate scores",
        "",
        beside(model, [Clip(clip.frames, task, clip.fps) for task in tasks]),
        goal=1.5,
        command=COMMAND,
    )


if __name__ == "__main__":
    main()
