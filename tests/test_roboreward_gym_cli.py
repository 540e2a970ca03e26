import os
import platform
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest

from roboreward_gym._cli import (
    INTERRUPTED,
    READER_GONE,
    keep_freed_memory,
    run_program,
    this_python,
)
from roboreward_gym.errors import UnknownName


def stopped() -> int:
    raise KeyboardInterrupt


def misnamed() -> int:
    raise UnknownName("reward model", "nan0", ["nano"])


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


MIB = 2**20
PROGRAM = f"""
import resource, sys
from roboreward_gym._cli import keep_freed_memory as keep
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
print(keep() if sys.argv[1] == "keep" else False)
before = resident()
block = bytearray(64 * {MIB})
del block
print((resident() - before) // {MIB})
"""
glibc = pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="needs glibc on Linux"
)


def after_freeing(mode: str) -> tuple[str, int]:
    """What `keep_freed_memory` returned, and how much of 64 freed MiB a fresh process still holds."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    command = [sys.executable, "-c", PROGRAM, mode]
    result = subprocess.run(
        command,
        env=environment,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    answer, held = result.stdout.split()
    return answer, int(held)


@glibc
def test_freed_memory_stays_in_the_process() -> None:
    answer, held = after_freeing("keep")
    assert answer == "True"
    assert held >= 60


@glibc
def test_freed_memory_goes_back_to_the_kernel_by_default() -> None:
    assert after_freeing("default")[1] <= 4


def test_nothing_is_done_where_there_is_no_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False


def test_help_names_the_module_and_not_its_path(tmp_path: Path) -> None:
    source = "import sys\nfrom roboreward_gym._cli import run_program\n"
    (tmp_path / "watch.py").write_text(source + "run_program(lambda: print(sys.argv[0]))\n")
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "watch"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "python -m watch\n"


def run_into(reader: str, program: str) -> tuple[int, str]:
    """Exit status and messages of a program that prints into a pipe whose other end does what `reader` says."""
    source = f"from roboreward_gym._cli import run_program\ndef main():\n    {program}\nrun_program(main)"
    with subprocess.Popen(
        [sys.executable, "-c", source],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as writing:
        assert writing.stdout is not None
        assert writing.stderr is not None
        if reader == "goes":
            writing.stdout.close()
        messages = writing.stderr.read()
    return writing.returncode, messages


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of Windows say nothing of their readers")
def test_a_reader_that_goes_ends_a_program_without_a_traceback() -> None:
    assert run_into("goes", "while True: print('x' * 10_000)") == (READER_GONE, "")


def test_another_broken_pipe_keeps_its_traceback() -> None:
    status, messages = run_into("stays", "raise BrokenPipeError('of a socket')")
    assert status == 1
    assert "BrokenPipeError: of a socket" in messages
