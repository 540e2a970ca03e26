"""What the documentation shows runs as it stands."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def examples(page: str) -> list[str]:
    """The examples of a page."""
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


EXAMPLES = examples("vector_envs.md")


def run(example: str, capsys: pytest.CaptureFixture[str]) -> list[list[str]]:
    """The words of each line that an example prints."""
    exec(compile(example, "example", "exec"), {"__name__": "example"})
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


def test_the_example_of_dense_rewards_returns_rewards_for_progress(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = examples("dense_rewards.md")
    lines = run(example, capsys)
    rewards = [float(reward) for _, reward, _ in lines]
    scored = {int(step): float(progress) for step, _, progress in lines if progress != "None"}
    assert list(scored) == [3, 6, 9]
    assert sum(rewards[:9]) == scored[9]
    assert sum(rewards) == 2.0
