"""From the finished units of a run to a data set: splits, metadata, data card, summary."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reward_models.augment.config import AugmentConfig
from reward_models.data.card import card
from reward_models.data.conversations import write_conversations
from reward_models.data.published import SPLITS
from reward_models.data.published_writer import Row, write_metadata
from reward_models.data.splits import Membership, assign_splits
from reward_models.data.truth import plain
from reward_models.data.video_file import OutputError, whole_file

STAGED = "staged"
"""Folder of videos that are in no split yet."""


@dataclass(frozen=True)
class Summary:
    """What came out of a run.

    Attributes:
        examples: Number of examples.
        by_kind: Examples by kind.
        by_level: Examples by reward.
        by_split: Examples by split.
        rejected_by_rule: What was rejected, by reason.
        failed: Episodes that are not done, because a model gave no answer in this run.
    """

    examples: int
    by_kind: Mapping[str, int]
    by_level: Mapping[str, int]
    by_split: Mapping[str, int]
    rejected_by_rule: Mapping[str, int]
    failed: int = 0


def write_set(config: AugmentConfig, lines: Iterable[Mapping[str, Any]]) -> Summary:
    """Divide all finished examples into splits and write metadata, card and summary; may be repeated.

    Raises:
        OutputError: No room, or no example is left.
    """
    lines = list(lines)
    rejected = Counter(rule for line in lines for rule in rules_of(line))
    rows = list(_distinct((row for line in lines for row in line.get("rows", ())), rejected))
    if not rows:
        reasons = ", ".join(f"{rule} {n}" for rule, n in rejected.most_common())
        raise OutputError(
            f"No example is left. Rejected: {reasons or 'nothing, the source is empty'}."
        )
    members = [
        Membership(r["file_name"].split("/")[0], r["source_episode"], r["video_sha256"])
        for r in rows
    ]
    split_of = assign_splits(members, config.splits, config.seed)
    by_split: dict[str, list[Row]] = {split: [] for split in SPLITS}
    for row, split in zip(rows, split_of, strict=True):
        _move(config.out, row["file_name"], split)
        by_split[split].append({k: v for k, v in row.items() if k != "video_sha256"})
    for split, its in by_split.items():
        if its or (config.out / split).exists():
            write_metadata(config.out / split, its)
            write_conversations(config.out / f"conversations-{split}.json", its)
    _remove_empty(config.out / STAGED)
    summary = Summary(
        examples=len(rows),
        by_kind=_counts(r["kind"] for r in rows),
        by_level=_counts(str(r["reward"]) for r in rows),
        by_split={split: len(its) for split, its in by_split.items()},
        rejected_by_rule=dict(rejected.most_common()),
    )
    _write(config.out / "summary.json", json.dumps(vars(summary), indent=2) + "\n")
    models = dict(vars(config.roles))
    _write(
        config.out / "README.md",
        card(
            config.out.name,
            by_split,
            rejected,
            models,
            f"{config.seed} for proposals and splits",
            config.source,
        ),
    )
    return summary


def rules_of(line: Mapping[str, Any]) -> Iterator[str]:
    """Yield the reason of every rejection in a line of the journal."""
    yield from (e["rule"] for e in line.get("events", ()) if not e["accepted"])
    if "rule" in line:
        yield line["rule"]


def _distinct(rows: Iterable[Row], rejected: Counter[str]) -> Iterator[Row]:
    """Leave out examples that are there already, and those that contradict an earlier one."""
    known: dict[tuple[str, str], int] = {}
    for row in rows:
        key = (row["video_sha256"], plain(row["task"]))
        if key not in known:
            known[key] = row["reward"]
            yield row
        else:
            rejected["duplicate" if known[key] == row["reward"] else "contradiction"] += 1


def _move(out: Path, name: str, split: str) -> None:
    """Bring a video to its split, from wherever an earlier run left it."""
    target = out / split / name
    for place in (STAGED, *SPLITS):
        if place != split and (out / place / name).exists():
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                (out / place / name).replace(target)
            except OSError as error:
                raise OutputError(f"{target} cannot be written: {error.strerror}.") from error
            return
    if not target.exists():
        raise OutputError(f"The video {name} is gone from {out}. Start again in another folder.")


def _remove_empty(folder: Path) -> None:
    """Remove a folder of folders that no file is left in."""
    places = [folder, *folder.iterdir()] if folder.is_dir() else []
    for place in reversed(places):
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _write(path: Path, text: str) -> None:
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")
