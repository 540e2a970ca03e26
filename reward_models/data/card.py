"""The data card that is written with every set: what is in it, where it is from, how it was made."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from roboreward_gym.types import LEVELS

Rows = Sequence[Mapping[str, Any]]
MADE_BY_AUGMENT = (
    "`roboreward augment`; its configuration is in `config.json`, every decision in `audit.jsonl`"
)


def card(
    name: str,
    by_split: Mapping[str, Rows],
    rejected: Mapping[str, int],
    models: Mapping[str, str],
    seeds: str,
    source: str,
    made: str = MADE_BY_AUGMENT,
) -> str:
    """Return the text of a `README.md` with the header that Hugging Face reads.

    Args:
        name: Name of the set.
        by_split: Its rows.
        rejected: What was left out, by reason.
        models: Who played which role.
        seeds: What was drawn from which seeds.
        source: Where the episodes are from.
        made: What made the set, and what lies beside it.
    """
    rows = [row for its in by_split.values() for row in its]
    licences = Counter(row["licence"] or "not stated" for row in rows)
    header = ["---", "pretty_name: " + json.dumps(name), "task_categories: [robotics]", "configs:"]
    header += ["- config_name: default", "  data_files:"]
    for split, its in by_split.items():
        if its:
            header += [
                f"  - split: {split.replace('val', 'validation')}",
                f'    path: "{split}/**"',
            ]
    header += ["---", ""]
    body = [
        f"# {name}",
        "",
        f"{len(rows)} examples: a video of a robot, a task, and a reward from 1 (no success) to 5 (perfect completion). "
        "Layout as in RoboReward: a folder per split with `metadata.jsonl` and a folder of MP4s per subset. Made with "
        f"{made}.",
        "",
        *_table("split", {split: its for split, its in by_split.items() if its}),
        *_table("subset", _by(rows, lambda row: row["file_name"].split("/")[0])),
        *_table("kind", _by(rows, lambda row: row["kind"])),
        "No source episode and no byte-identical video is in two splits. Rows that share a source episode depend on one "
        "another: compute intervals over episodes, not over rows.",
        "",
        "## Where it is from",
        "",
        f"Source: `{source}`. Licences of the videos: "
        + ", ".join(f"{licence} ({count})" for licence, count in licences.most_common())
        + ".",
        "",
        "## How it was made",
        "",
        "| role | played by |",
        "| --- | --- |",
        *(f"| {role} | `{model}` |" for role, model in models.items()),
        "",
        f"Seeds: {seeds}.",
        "",
        "Rejected: "
        + (", ".join(f"{rule} {n}" for rule, n in rejected.items()) or "nothing")
        + ".",
        "",
    ]
    return "\n".join(header + body)


def _by(rows: Rows, key: Any) -> dict[str, Rows]:
    names = sorted({key(row) for row in rows})
    return {name: [row for row in rows if key(row) == name] for name in names}


def _table(title: str, groups: Mapping[str, Rows]) -> Iterable[str]:
    yield (
        f"| {title} | examples | "
        + " | ".join(f"reward {level}" for level in LEVELS)
        + " | episodes |"
    )
    yield "| --- " * (len(LEVELS) + 3) + "|"
    for name, rows in groups.items():
        levels = Counter(row["reward"] for row in rows)
        episodes = len({(row["file_name"].split("/")[0], row["source_episode"]) for row in rows})
        cells = [name, len(rows), *(levels[level] for level in LEVELS), episodes]
        yield "| " + " | ".join(map(str, cells)) + " |"
    yield ""
