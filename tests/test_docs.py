"""The walkthroughs run as they stand, block by block, and every link of the documentation leads somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WALKTHROUGHS = [
    *sorted((ROOT / "docs" / "walkthroughs").glob("*.md")),
    ROOT / "docs" / "your_env.md",
]
BLOCK = re.compile(r"^```(\w+)(.*?)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")
NOT_RUN = "not-run"
"""Behind the language of a block that needs what a test has not: a robot, a key, hours."""


def blocks(text: str) -> list[tuple[str, str]]:
    """Language and source of the blocks that can be run, in their order.

    >>> blocks("```python\\n1\\n```\\n```toml\\na\\n```\\n```bash not-run\\nb\\n```\\n")
    [('python', '1\\n')]
    """
    return [
        (language, source)
        for language, mark, source in BLOCK.findall(text)
        if language in ("python", "bash") and NOT_RUN not in mark
    ]


def run_page(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the blocks of a page in one namespace and one folder."""
    monkeypatch.chdir(folder)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    namespace = {"__name__": "walkthrough"}
    for language, source in blocks(page.read_text(encoding="utf-8")):
        if language == "python":
            exec(compile(source, str(page), "exec"), namespace)
        else:
            command = ["bash", "-euo", "pipefail", "-c", source]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("page", WALKTHROUGHS, ids=lambda page: page.stem)
def test_a_walkthrough_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_page(page, tmp_path, monkeypatch)


def test_a_broken_block_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```bash\ntest -e missing\n```\n")
    with pytest.raises(AssertionError):
        run_page(page, tmp_path, monkeypatch)


def broken_links(page: Path) -> list[str]:
    """Links of a page to files that are not there; pages that are built count as there."""
    links = [m.group(1) for m in LINK.finditer(page.read_text(encoding="utf-8"))]
    local = [link for link in links if "://" not in link and "/api/" not in f"/{link}"]
    return [link for link in local if not (page.parent / link).exists()]


@pytest.mark.parametrize(
    "page",
    [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("[a](page.md) [b](gone.md#x) [c](https://example.org)")
    assert broken_links(tmp_path / "page.md") == ["gone.md"]
