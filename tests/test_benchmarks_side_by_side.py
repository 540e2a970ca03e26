import json
from pathlib import Path

from benchmarks.side_by_side import BEGIN, END, compare, main, record_row


def row(path: Path, peer: str, ratio: float) -> None:
    measured = {"ratio": ratio, "ours_ms": 1.0, "peer_ms": ratio}
    record_row("update", peer, "numpy", measured, goal=2.0, command="python -m x", path=path)


def test_row_replaces_the_one_of_the_same_work_and_peer(tmp_path: Path) -> None:
    path = tmp_path / "results" / "rows.json"
    for peer, ratio in (("a", 1.5), ("b", 3.0), ("a", 2.0)):
        row(path, peer, ratio)
    rows = json.loads(path.read_text())["rows"]
    assert [(r["peer"], r["ratio"], r["holds"]) for r in rows] == [
        ("b", 3.0, True),
        ("a", 2.0, True),
    ]


def test_table_is_put_between_its_marks_each_time(tmp_path: Path) -> None:
    path, readme = tmp_path / "rows.json", tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}stale row\n{END}after\n")
    row(path, "a", 1.5)
    main(path, readme)
    once = readme.read_text()
    main(path, readme)
    assert readme.read_text() == once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert "stale row" not in once
    assert "| 1.50x | 2x | no |" in once


def test_both_works_are_called_equally_often_in_turn() -> None:
    calls: list[str] = []
    compare(
        lambda: calls.append("ours"),
        lambda: sum(range(9_999)) and calls.append("peer"),
        rounds=2,
        repeats=3,
    )
    assert calls == ["ours", "peer", *(["ours"] * 3 + ["peer"] * 3) * 2]
