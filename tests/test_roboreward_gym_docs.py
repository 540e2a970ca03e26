"""What the documentation shows runs as it stands."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "vector_envs.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def run(example: str, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The words of each line that an example prints."""
    exec(compile(example, str(PAGE), "exec"), {"__name__": "example"})
    return [line.split() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.filterwarnings("ignore:.*pkg_resources.*")
def test_the_first_example_is_rewarded_at_the_ends(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pygame")
    lines = run(EXAMPLES[0], capsys)
    assert {line[0] for line in lines} == {"0", "1", "2"}
    assert all(float(reward) == (float(level) - 1) / 4 for _, reward, level in lines)


@pytest.mark.filterwarnings("ignore:.*pkg_resources.*")
def test_the_second_example_shows_what_came_later(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pygame")
    lines = run(EXAMPLES[1], capsys)
    assert len(lines) >= 4
    assert len({(env, episode) for env, episode, *_ in lines}) == len(lines)
    assert all(float(reward) == (float(level) - 1) / 4 for _, _, reward, level in lines)


def test_there_are_no_other_examples() -> None:
    assert len(EXAMPLES) == 2
