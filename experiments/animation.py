"""Animate a finished run, before above after: `python -m experiments.animation runs/drawer-nano-seed0 --out run.webp`.

The starts are a random choice, with a fixed seed, of those that the run was evaluated from, so the picture shows failures
as often as they happen. A frame around an episode turns green when it has succeeded by the simulator's truth.
"""

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image, ImageDraw, ImageFont

from experiments.evaluate import EpisodeRunner, Evaluation, PolicySpec
from experiments.phases import kept_noise_policy, policy_spec, reopen
from experiments.workers import prepare
from roboreward_gym._cli import run_program

CELL = (192, 144)
"""Size of an episode in the picture, `(width, height)` in [px]."""
TITLE = 22
"""Height of a title in [px]."""
HOLD_S = 1.6
"""How long the last frames stand still, in [s]."""
INK, SUCCESS = (31, 35, 40), (15, 118, 110)


@dataclass(frozen=True)
class AnimationArgs:
    """Animate a finished run, before above after."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    out: Path = Path("docs/images/before_after.webp")
    """The picture, an animated WebP."""
    starts: int = 4
    """Start states, side by side."""
    seed: int = 0
    """Seed for the random choice of starts."""


@dataclass(frozen=True, eq=False)
class Episode:
    """Frames `(T, H, W, 3)` uint8 of an episode, and whether it succeeded."""

    frames: np.ndarray
    success: bool


def play(spec: PolicySpec, seeds: list[int]) -> tuple[list[Episode], float]:
    """Play one episode per seed; returns them and their frame rate in [Hz]."""
    episodes, fps = [], 0.0
    with closing(EpisodeRunner(spec)) as runner:
        for seed in seeds:
            outcome = runner.play(seed)
            clip, _ = runner.video
            episodes.append(Episode(clip.frames, outcome.success))
            fps = clip.fps
    return episodes, fps


def compose(rows: list[tuple[str, list[Episode]]], step: int) -> Image.Image:
    """One picture of the animation: a title and a row of episodes for each policy."""
    width, height = CELL
    size = (width * len(rows[0][1]), (height + TITLE) * len(rows))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for row, (title, episodes) in enumerate(rows):
        top = row * (height + TITLE)
        draw.text((4, top + 3), title, INK, ImageFont.load_default(13))
        for column, episode in enumerate(episodes):
            frame = Image.fromarray(episode.frames[min(step, len(episode.frames) - 1)])
            place = (column * width, top + TITLE)
            picture.paste(frame.resize(CELL, Image.Resampling.BOX), place)
            if episode.success and step >= len(episode.frames) - 1:
                corner = (place[0] + width - 1, place[1] + height - 1)
                draw.rectangle((place, corner), outline=SUCCESS, width=4)
    return picture


def title(name: str, evaluation: Evaluation) -> str:
    """Name of a policy with its success rate."""
    return f"{name}: {100 * evaluation.rate.value:.0f} % success in {len(evaluation.outcomes)} episodes"


def main(args: AnimationArgs) -> None:
    """Play, draw and write."""
    prepare(threads=1)
    config, folder, finished = reopen(args.run)
    evaluated = [outcome.seed for outcome in finished.base.outcomes]
    chosen = np.random.default_rng(args.seed).choice(evaluated, args.starts, replace=False)
    seeds = [int(seed) for seed in chosen]
    before, fps = play(policy_spec(config), seeds)
    after, _ = play(policy_spec(config, kept_noise_policy(folder)), seeds)
    episodes = config.training_episodes
    rows = [
        (title("Base policy", finished.base), before),
        (title(f"After {episodes} scored episodes", finished.final), after),
    ]
    steps = max(len(episode.frames) for episode in before + after)
    pictures = [compose(rows, step) for step in range(steps)]
    durations = [round(1000 / fps)] * (steps - 1) + [round(1000 * HOLD_S)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    pictures[0].save(
        args.out, save_all=True, append_images=pictures[1:], duration=durations, loop=0, quality=60
    )
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB, evaluation seeds {seeds}")


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(AnimationArgs)))
