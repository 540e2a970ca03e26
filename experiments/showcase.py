"""Show a reward model at work: scripted episodes whose truth is known, scored one by one.

python -m experiments.showcase --scene toy-on-towel --out reward_model.jpg

The starts are a random choice with a fixed seed; nothing is left out. Of each start there are a success, the same video
under another task, the same video cut short, and a clumsy attempt; the picture shows the first of each.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from tqdm import trange

from experiments.config import CONSTANT, NANO, SHOWCASE_SEEDS
from experiments.report.plots import example_strips
from experiments.reward_sources import scored_env
from experiments.strips import Strip
from experiments.workers import prepare
from roboreward_gym._cli import run_program
from roboreward_gym.registry import load_reward_model
from roboreward_gym.types import Clip, ProgressScore
from roboreward_gym.wrapper import VLMRewardWrapper
from robots.catalogue import TASKS, task_entry
from robots.sim.experts import ScriptedExpert, Style
from robots.widowx import widowx

CUT = 0.45
"""Share of an episode that its truncated version keeps."""
SLOPPY = Style(aim_error_m=0.06, drop_probability=1.0)
KINDS = 4
"""Kinds of examples."""


@dataclass(frozen=True, eq=False)
class Recording:
    """An episode with the truth of every moment.

    Attributes:
        clip: Frames and task.
        levels: Task to `(T,)` true levels after each frame.
    """

    clip: Clip
    levels: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Example:
    """A clip for the reward model, what it is, and the true level of its last frame."""

    what: str
    clip: Clip
    level: int


def example_clips(env_id: str, seed: int = 0, each: int = 1) -> list[Example]:
    """Examples of the four kinds, `each` of every kind, kind by kind in turn.

    The kinds take their episodes from different starts, so that one start does not decide a whole picture.

    Args:
        env_id: An environment of `robots`.
        seed: Another seed, another random choice of starts.
        each: Examples of each kind.
    """
    seeds = np.random.default_rng(seed).choice(
        SHOWCASE_SEEDS, 2 * max(each, KINDS - 1), replace=False
    )
    env = scored_env(env_id, CONSTANT)
    half = len(seeds) // 2
    successes, failures = [], []
    for i in trange(half, desc="scripted episodes", leave=False):
        successes.append(_perform(env, int(seeds[i]), Style()))
        failures.append(_perform(env, int(seeds[half + i]), SLOPPY))
    env.close()
    examples = []
    for i in range(each):
        first, second, third = (successes[(i + kind) % half] for kind in range(KINDS - 1))
        examples += [
            _example("success of a script", first),
            _example("success, other task asked", second, task=_other_task(second)),
            _example(f"success, first {100 * CUT:.0f} %", third, kept=CUT),
            _example("clumsy script", failures[i]),
        ]
    return examples


def table(examples: list[Example], scores: list[ProgressScore]) -> str:
    """What was shown, what was predicted and what is true, for a terminal."""
    rows = [("episode", "task", "predicted", "P(5)", "truth")]
    for example, score in zip(examples, scores, strict=True):
        chance = score.success_probability
        rows.append(
            (
                example.what,
                example.clip.task,
                "unreadable" if score.level is None else str(score.level),
                f"{chance:.2f}" if math.isfinite(chance) else "-",
                str(example.level),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def agreement(examples: list[Example], scores: list[ProgressScore]) -> str:
    """How often the predicted level is the true one."""
    exact = sum(s.level == e.level for e, s in zip(examples, scores, strict=True))
    return f"The predicted level is the true one in {exact} of {len(examples)} random examples."


def strips(examples: list[Example], scores: list[ProgressScore]) -> list[Strip]:
    """The same for a report."""
    return [
        Strip.of(e.clip.frames, e.clip.task, score, e.level, e.what)
        for e, score in zip(examples, scores, strict=True)
    ]


@dataclass(frozen=True)
class ShowcaseArgs:
    """Record some scripted episodes, have them scored, and draw a picture of the first ones."""

    scene: str = TASKS[0].name
    """Task that is recorded, a name of `robots.catalogue`."""
    reward_model: str = NANO
    """Name of the reward model."""
    seed: int = 0
    """Seed for the random choice of starts."""
    each: int = 6
    """Examples of each of the four kinds."""
    out: Path = Path("runs/reward_model.jpg")
    """The picture, a JPEG."""


def main(args: ShowcaseArgs) -> None:
    """Print the score of each example, and write the picture."""
    prepare(threads=1)
    model = load_reward_model(args.reward_model)
    examples = example_clips(task_entry(args.scene).env_id, args.seed, args.each)
    scores = model.score([example.clip for example in examples])
    print(f"{table(examples, scores)}\n{agreement(examples, scores)}")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    shown = examples[:KINDS]
    titles = [f"\u201c{e.clip.task}\u201d  ({e.what})" for e in shown]
    levels = [(score.level, e.level) for e, score in zip(shown, scores, strict=False)]
    args.out.write_bytes(example_strips([e.clip.frames for e in shown], titles, levels))
    print(f"Picture of the first of each kind: {args.out}")


def _perform(env: VLMRewardWrapper, seed: int, style: Style) -> Recording:
    env.reset(seed=seed)
    world = widowx(env)
    expert = ScriptedExpert(world, world.task, np.random.default_rng(seed), style)
    levels = {task: [world.level(task)] for task in world.tasks if world.scene.askable(task)}
    ended = False
    while not ended:
        _, _, terminated, truncated, _ = env.step(expert.act())
        ended = terminated or truncated
        for task in levels:
            levels[task].append(world.level(task))
    assert env.last_clip is not None
    return Recording(env.last_clip, {task: np.array(track) for task, track in levels.items()})


def _example(what: str, recording: Recording, task: str = "", kept: float = 1.0) -> Example:
    task = task or recording.clip.task
    frames = recording.clip.frames[: max(2, round(kept * len(recording.clip.frames)))]
    level = int(recording.levels[task][len(frames) - 1])
    return Example(what, Clip(frames, task, recording.clip.fps), level)


def _other_task(recording: Recording) -> str:
    """The task that the episode fulfils least; the first of them, so that nobody chooses."""
    return min(recording.levels, key=lambda task: recording.levels[task][-1])


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(ShowcaseArgs)))
