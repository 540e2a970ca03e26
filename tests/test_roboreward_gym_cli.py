import sys
from pathlib import Path

import gymnasium as gym
import pytest

from roboreward_gym._cli import INTERRUPTED, run_program, this_python
from roboreward_gym.errors import UnknownName


def stopped() -> int:
    raise KeyboardInterrupt


def misnamed() -> int:
    raise UnknownName("judge", "nan0", ["nano"])


def broken() -> int:
    raise ZeroDivisionError


@pytest.mark.parametrize(("status", "code"), [(0, 0), (3, 3), (None, None)])
def test_status_is_that_of_the_program(status: int | None, code: int | None) -> None:
    with pytest.raises(SystemExit) as end:
        run_program(lambda: status)
    assert end.value.code == code


def test_an_error_on_purpose_is_said_without_a_traceback() -> None:
    with pytest.raises(SystemExit, match=r"UnknownName: .*Did you mean 'nano'"):
        run_program(misnamed)


def test_an_environment_that_there_is_not_is_said_without_a_traceback() -> None:
    with pytest.raises(SystemExit, match=r"NameNotFound: .*CartPole"):
        run_program(lambda: bool(gym.make("CartPol-v1")))


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_program(broken)


def test_a_stopped_program_ends_as_shells_expect(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run_program(stopped)
    assert end.value.code == INTERRUPTED
    assert "Stopped" in capsys.readouterr().err


def test_python_is_named_as_it_can_be_called_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.chdir(tmp_path)
    assert this_python() == "venv/bin/python"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert this_python() == str(python)
