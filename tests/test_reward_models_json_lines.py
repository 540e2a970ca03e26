"""Lines of JSON are there whole, or not at all."""

import resource
from pathlib import Path

import pytest

from reward_models import json_lines
from reward_models.json_lines import append_row, cut_unfinished_line, parse_row, read_lines


def test_rows_come_back_in_order_and_without_a_file_there_are_none(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert read_lines(path) == ([], b"")
    append_row(path, {"text": "ä\nb"}, sync=True)
    append_row(path, {"number": 2})
    lines, rest = read_lines(path)
    assert ([parse_row(line) for line in lines], rest) == ([{"text": "ä\nb"}, {"number": 2}], b"")


@pytest.mark.parametrize("block", [3, 65536])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b""),
        (b'{"a": 1}\n', b'{"a": 1}\n'),
        (b'{"a": 1}\n{"b', b'{"a": 1}\n'),
        (b'{"cut in its first line', b""),
    ],
)
def test_an_unfinished_line_is_cut_and_whole_ones_stay(
    before: bytes, after: bytes, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "BLOCK", block)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(before)
    cut_unfinished_line(path)
    assert path.read_bytes() == after


def test_where_there_is_no_room_nothing_of_the_line_is_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_row(path, {"number": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, hard))  # a file that may grow no further
    try:
        with pytest.raises(OSError, match="too large"):
            append_row(path, {"text": "x" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_lines(path) == ([b'{"number": 1}'], b"")


def test_what_is_no_json_object_is_refused(tmp_path: Path) -> None:
    for line in (b"no JSON", b"[1]", b"[" * 100_000, b"\xff"):
        with pytest.raises(ValueError):  # noqa: PT011 - json's own words
            parse_row(line)
    with pytest.raises(ValueError, match="JSON compliant"):
        append_row(tmp_path / "rows.jsonl", {"number": float("nan")})
    assert not (tmp_path / "rows.jsonl").exists()
