"""One process of a computer drives a robot."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from robots.errors import ArmUnavailable
from robots.ros.claim import Claim

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def claim(tmp_path: Path) -> Iterator[Callable[..., Claim]]:
    claims: list[Claim] = []

    def make(name: str = "wx250s") -> Claim:
        claims.append(Claim(name, tmp_path))
        return claims[-1]

    yield make
    for made in claims:
        made.release()


def test_a_second_learner_is_refused_every_time(
    claim: Callable[..., Claim], tmp_path: Path
) -> None:
    first = claim()
    first.take()
    first.take()  # it has it already
    for _ in range(10):
        with pytest.raises(ArmUnavailable, match=r"Another program drives /wx250s \(process \d+\)"):
            claim().take()


def test_another_robot_may_be_driven(claim: Callable[..., Claim], tmp_path: Path) -> None:
    claim("arm1/wx250s").take()
    claim("arm2/wx250s").take()


def test_after_the_release_the_next_one_may(claim: Callable[..., Claim], tmp_path: Path) -> None:
    first, second = claim(), claim()
    first.take()
    first.release()
    first.release()
    second.take()


def test_a_process_that_was_killed_holds_no_claim(
    claim: Callable[..., Claim], tmp_path: Path
) -> None:
    code = (
        "import os, signal, sys, pathlib\n"
        "from robots.ros.claim import Claim\n"
        "Claim('wx250s', pathlib.Path(sys.argv[1])).take()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    assert list(tmp_path.iterdir())
    claim().take()


def test_the_file_of_another_user_is_named(
    claim: Callable[..., Claim], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ArmUnavailable, match=r"Another user .*roboreward-.*-wx250s\.lock"):
        claim().take()
