"""Our work beside the same work of other libraries, in one file and one table: `python -m benchmarks.side_by_side`.

A script under `benchmarks/` calls `compare` and `record_row` for each of its rows; a row replaces the one of the same work and
peer. Run as a program this module puts the table of `benchmarks/results/side_by_side.json` into the README.
"""

import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from tqdm import tqdm

RESULTS = Path(__file__).parent / "results" / "side_by_side.json"
README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- side by side -->\n", "<!-- /side by side -->\n"
HEADER = "| work | peer | as fast as the peer | goal | holds | command |\n| --- | --- | --- | --- | --- | --- |\n"


def compare(
    ours: Callable[[], Any], peer: Callable[[], Any], *, rounds: int = 9, repeats: int = 20
) -> dict[str, Any]:
    """CPU time of two calls, measured in turn, so that both meet the same load of the machine.

    Returns:
        Median CPU milliseconds per call of each, and `ratio`: the median over the rounds of peer / ours.
    """
    times: list[tuple[float, float]] = []
    for work in (ours, peer):
        work()  # caches fill
    for _ in tqdm(range(rounds), desc="rounds", leave=False):
        times.append((_cpu_ms(ours, repeats), _cpu_ms(peer, repeats)))
    return {
        "ratio": round(median(b / a for a, b in times), 2),
        "ours_ms": round(median(a for a, _ in times), 3),
        "peer_ms": round(median(b for _, b in times), 3),
    }


def _cpu_ms(work: Callable[[], Any], repeats: int) -> float:
    begin = time.process_time()
    for _ in range(repeats):
        work()
    return 1e3 * (time.process_time() - begin) / repeats


def record_row(
    work: str,
    peer: str,
    package: str,
    measured: dict[str, Any],
    *,
    goal: float,
    command: str,
    path: Path = RESULTS,
) -> None:
    """Keep a row, in the place of an older one of the same work and peer.

    Args:
        work: What is done.
        peer: Whose it is compared with.
        package: Distribution of the peer, for its version; empty for a state of our own.
        measured: `ratio` of `compare`, and what else was measured.
        goal: Smallest ratio that holds.
        command: What measures it.
        path: The JSON file.
    """
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    kept = [row for row in rows if (row["work"], row["peer"]) != (work, peer)]
    row = {
        "work": work,
        "peer": peer,
        "version": version(package) if package else "",
        **measured,
        "goal": goal,
        "holds": measured["ratio"] >= goal,
        "command": command,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"rows": [*kept, row]}, indent=2) + "\n")
    print(f"{work}: {measured['ratio']}x {peer} (goal {goal}x)")


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    lines = [
        f"| {row['work']} | {row['peer']} {row['version']} | {row['ratio']:.2f}x | {row['goal']:g}x | "
        f"{'yes' if row['holds'] else 'no'} | `{row['command']}` |\n"
        for row in rows
    ]
    return HEADER + "".join(lines)


def main(path: Path = RESULTS, readme: Path = README) -> None:
    """Put the table between its two marks in the README."""
    before, rest = readme.read_text().split(BEGIN)
    after = rest.split(END)[1]
    made = table(json.loads(path.read_text())["rows"])
    readme.write_text(f"{before}{BEGIN}{made}{END}{after}")
    print(made)


if __name__ == "__main__":
    main()
