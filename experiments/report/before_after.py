"""One start of a study's run, played by the base policy and by the policy that was kept, from the saved episodes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.media import video
from experiments.phases import base_played, final_played
from experiments.played_episode import PlayedEpisode
from experiments.report.study_folder import Cell, Run
from experiments.report.template import video_words
from experiments.results import METRIC_KEYS
from experiments.run_folder import read_lines

NOTE = (
    "Of each cell the first run that keeps the fine-tuned policy: the first of its evaluation starts that turned from failure to success, played by both. "
    "The caption says how many turned, either way."
)
POLICIES = ("Before: base policy", "After: fine-tuned policy")


@dataclass(frozen=True, eq=False)
class Pair:
    """The videos of one start, before and after, as a template wants them."""

    caption: str
    videos: Sequence[Mapping[str, str]]


def pairs(cells: Sequence[Cell]) -> list[Pair]:
    """A pair for each cell that has a run with one."""
    found = []
    for cell in cells:
        made = (_pair(cell, run) for run in cell.runs if run.row["kept_fine_tuned"])
        pair = next((pair for pair in made if pair is not None), None)
        if pair is not None:
            found.append(pair)
    return found


def _pair(cell: Cell, run: Run) -> Pair | None:
    """None where no start turned to success, or its episodes were not kept."""
    base, final = (
        {line["seed"]: line["success"] for line in read_lines(run.folder / f"{phase}.jsonl")}
        for phase in ("base", "final")
    )
    both = sorted(base.keys() & final.keys())
    better = [seed for seed in both if final[seed] and not base[seed]]
    worse = [seed for seed in both if base[seed] and not final[seed]]
    before, after = base_played(run.folder), final_played(run.folder)
    for seed in better:
        files = [folder / f"{seed}.npz" for folder in (before, after)]
        if all(file.exists() for file in files):
            return Pair(
                f"{cell.task}, {cell.label}: {run.row['folder']}, start {1 + both.index(seed)} of {len(both)}; {len(better)} turned "
                f"to success, {len(worse)} to failure",
                [_video(*one) for one in zip(files, POLICIES, strict=True)],
            )
    return None


def _video(file: Path, policy: str) -> dict[str, str]:
    episode = PlayedEpisode.load(file)
    clip, level = episode.clip, episode.record.logged[METRIC_KEYS["level"]]
    caption = f"{policy}. True level {level:.0f}."
    return video_words(video(clip.frames, clip.fps), clip.frames[-1], caption)
