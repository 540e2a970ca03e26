"""Rate the episodes of a run on a robot, or correct ratings; the report changes with them.

    python -m experiments.relabel runs/toy-on-towel-nano-ros2-seed0
    python -m experiments.relabel runs/toy-on-towel-nano-ros2-seed0 --set 12=4 13=unknown

Without `--set` it writes a page that shows each valid episode, and asks for those that have no rating. What was
learned does not change: a learner never sees a person's rating, unless the reward model is `truth`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jinja2
import tyro

from experiments.media import data_uri, frame_strip, jpeg
from experiments.phases import EPISODES, rate_again, reopen
from experiments.report.report import write_report
from experiments.run_folder import RunFolderError
from roboreward_gym._cli import run_program
from roboreward_gym.episode import Episode
from roboreward_gym.errors import InvalidSetting
from robots.recording import INDEX, read_ratings, write_rating
from robots.xs.keyboard import Terminal
from robots.xs.operator import LEVELS, Operator, OperatorEnds

PAGE = "relabel.html"
UNKNOWN = "unknown"
TEMPLATE = """<!doctype html><meta charset="utf-8"><title>Ratings</title>
<style>body { font: 15px sans-serif; margin: 24px } img { max-width: 100%; display: block } </style>
<h1>Episodes of {{ folder }}</h1>
{% for e in episodes %}<h3>{{ e.number }}: {{ e.task }} ({{ e.level }})</h3><img src="{{ e.image }}">
{% endfor %}"""


@dataclass(frozen=True)
class RelabelArgs:
    """Rate the episodes of a run on a robot, or correct ratings."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    set: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NUMBER=LEVEL")] = ()
    """Ratings: number of the episode, and a level from 1 to 5 or `unknown`. Nobody is asked then."""
    all: bool = False
    """Ask for every episode, those with a rating too."""


def main(args: RelabelArgs, operator: Operator | None = None) -> None:
    """Rate, then write result and report of a run that is finished anew."""
    folder = args.run / EPISODES
    episodes = valid_episodes(folder)
    try:
        if args.set:
            for number, level in parse_ratings(args.set, episodes).items():
                write_rating(folder, number, level)
        else:
            ask(folder, episodes, operator or Operator(Terminal()), again=args.all)
    finally:
        print(f"{len(read_ratings(folder))} of {len(episodes)} valid episodes have a rating.")
    if not (args.run / "result.json").exists():
        print("The run is not finished: its report will have the ratings.")
        return
    config, run_folder, finished = reopen(args.run)
    finished = rate_again(config, run_folder, finished)
    print(f"base        {finished.base.rate}\nfine-tuned  {finished.final.rate}")
    print(f"report      {write_report(config, run_folder, finished)}")


def valid_episodes(folder: Path) -> dict[int, str]:
    """Tasks of the valid episodes by their numbers.

    Raises:
        RunFolderError: There are no episodes in the folder.
    """
    index = folder / INDEX
    if not index.exists():
        raise RunFolderError(
            f"There is no {INDEX} in {folder}. Name the folder of a run with --robot ros2."
        )
    lines = [json.loads(line) for line in index.read_text().splitlines()]
    return {line["episode"]: line["task"] for line in lines if line["invalid"] is None}


def parse_ratings(words: tuple[str, ...], episodes: Mapping[int, str]) -> dict[int, int | None]:
    """Read `NUMBER=LEVEL`.

    Raises:
        InvalidSetting: Something else, or an episode that there is not.
    """
    ratings: dict[int, int | None] = {}
    for word in words:
        number, _, level = word.partition("=")
        if not number.isdecimal() or (level not in LEVELS and level != UNKNOWN):
            raise InvalidSetting(
                f"A rating is NUMBER=LEVEL with a level from 1 to 5 or {UNKNOWN!r}, got {word!r}."
            )
        if int(number) not in episodes:
            raise InvalidSetting(
                f"There is no valid episode {number}; the last one is {max(episodes, default='none')}."
            )
        ratings[int(number)] = LEVELS.get(level)
    return ratings


def ask(folder: Path, episodes: Mapping[int, str], operator: Operator, *, again: bool) -> None:
    """Ask for each episode, and write each answer at once; `q` ends it."""
    ratings = read_ratings(folder)
    print(f"Look at {write_page(folder, episodes, ratings)}")
    for number, task in episodes.items():
        if ratings.get(number) is None or again:
            operator.begin_episode()
            level = operator.ask_level(f"{task} (episode {number})")
            try:
                operator.check_end()
            except OperatorEnds:
                return
            write_rating(folder, number, level)


def write_page(
    folder: Path, episodes: Mapping[int, str], ratings: Mapping[int, int | None]
) -> Path:
    """Write a page with the frames of each episode; return its path."""
    shown = [
        {
            "number": number,
            "task": task,
            "level": ratings.get(number) or UNKNOWN,
            "image": data_uri(
                jpeg(frame_strip(Episode.load(folder / f"episode-{number:06d}.npz").frames)),
                "image/jpeg",
            ),
        }
        for number, task in episodes.items()
    ]
    path = folder.parent / PAGE
    template = jinja2.Environment(autoescape=True).from_string(TEMPLATE)
    path.write_text(template.render(folder=folder, episodes=shown))
    return path


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(RelabelArgs, description=__doc__)))
