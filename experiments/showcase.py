"""Show a judge at work: a few scripted episodes whose truth is known, judged one by one.

python -m experiments.showcase --scene toy-on-towel --out judge.jpg
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from experiments.config import CONFIGS, CONSTANT, NANO, SHOWCASE_SEEDS
from experiments.report.plots import judged_films
from experiments.report.strips import Strip
from experiments.reward_sources import scored_env
from experiments.workers import prepare
from roboreward_gym._cli import run_program
from roboreward_gym.registry import load_reward_model
from roboreward_gym.types import Clip, ProgressScore, RewardModel
from roboreward_gym.wrapper import VLMRewardWrapper
from robots.sim.experts import ScriptedExpert, Style
from robots.widowx import widowx

CUT = 0.45
"""Share of an episode that its truncated version keeps."""
SLOPPY = Style(aim_error_m=0.03, drop_probability=1.0)


@dataclass(frozen=True, eq=False)
class Scene:
    """A filmed episode with the truth of every moment.

    Attributes:
        clip: Frames and command.
        levels: Command to `(T,)` true levels after each frame.
    """

    clip: Clip
    levels: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Exhibit:
    """A clip shown to the judge, and what is true of its last frame."""

    what: str
    clip: Clip
    level: int


def exhibits(env_id: str, number: int = 0) -> Iterator[Exhibit]:
    """Film a success and a failure, and make a counterfactual and a truncated clip of the success.

    Args:
        env_id: An environment of `robots`.
        number: Another number, another start.
    """
    env = scored_env(env_id, CONSTANT)
    seed = SHOWCASE_SEEDS[2 * number]
    success = _perform(env, seed, Style())
    failure = _perform(env, seed + 1, SLOPPY)
    env.close()
    yield _exhibit("success of a script", success)
    yield _exhibit("same film, other command", success, task=_other_command(success))
    yield _exhibit(f"same film, first {100 * CUT:.0f} %", success, kept=CUT)
    yield _exhibit("clumsy script", failure)


def judge(model: RewardModel, shown: list[Exhibit]) -> list[ProgressScore]:
    """Ask the judge about each, in one batch."""
    return model.score([exhibit.clip for exhibit in shown])


def table(shown: list[Exhibit], scores: list[ProgressScore]) -> str:
    """What was shown, what the judge said and what is true, for a terminal."""
    rows = [("episode", "command", "judged", "P(5)", "truth")]
    for exhibit, score in zip(shown, scores, strict=True):
        chance = score.success_probability
        rows.append(
            (
                exhibit.what,
                exhibit.clip.task,
                "unreadable" if score.level is None else str(score.level),
                f"{chance:.2f}" if math.isfinite(chance) else "-",
                str(exhibit.level),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def strips(shown: list[Exhibit], scores: list[ProgressScore]) -> list[Strip]:
    """The same for a report."""
    return [
        Strip.of(e.clip.frames, e.clip.task, score, e.level, e.what)
        for e, score in zip(shown, scores, strict=True)
    ]


@dataclass(frozen=True)
class ShowcaseArgs:
    """Film some scripted episodes, have them judged, and draw a picture of it."""

    scene: Literal["toy-on-towel", "drawer"] = "toy-on-towel"
    """Which task is filmed."""
    judge: str = NANO
    """Name of the judge."""
    number: int = 0
    """Another number, another start."""
    out: Path = Path("runs/judge.jpg")
    """The picture, a JPEG."""


def main(args: ShowcaseArgs) -> None:
    """Print what the judge says of each film, and write the picture."""
    prepare(threads=1)
    shown = list(exhibits(CONFIGS[f"{args.scene}-nano"].env_id, args.number))
    scores = judge(load_reward_model(args.judge), shown)
    print(table(shown, scores))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    titles = [f"\u201c{e.clip.task}\u201d  ({e.what})" for e in shown]
    verdicts = [(score.level, exhibit.level) for score, exhibit in zip(scores, shown, strict=True)]
    args.out.write_bytes(judged_films([e.clip.frames for e in shown], titles, verdicts))
    print(f"Picture: {args.out}")


def _perform(env: VLMRewardWrapper, seed: int, style: Style) -> Scene:
    env.reset(seed=seed)
    world = widowx(env)
    expert = ScriptedExpert(world, world.task, np.random.default_rng(seed), style)
    levels = {
        command: [world.level(command)] for command in world.tasks if world.scene.askable(command)
    }
    ended = False
    while not ended:
        _, _, terminated, truncated, _ = env.step(expert.act())
        ended = terminated or truncated
        for command in levels:
            levels[command].append(world.level(command))
    assert env.last_clip is not None
    return Scene(env.last_clip, {command: np.array(track) for command, track in levels.items()})


def _exhibit(what: str, scene: Scene, task: str = "", kept: float = 1.0) -> Exhibit:
    task = task or scene.clip.task
    frames = scene.clip.frames[: max(2, round(kept * len(scene.clip.frames)))]
    level = int(scene.levels[task][len(frames) - 1])
    return Exhibit(what, Clip(frames, task, scene.clip.fps), level)


def _other_command(scene: Scene) -> str:
    """The command that the episode fulfils least; the first of them, so that it is no choice."""
    return min(scene.levels, key=lambda command: scene.levels[command][-1])


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(ShowcaseArgs)))
