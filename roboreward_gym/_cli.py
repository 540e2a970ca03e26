"""What our command-line programs share: how they start, end and use memory. No part of the plugin."""

import ctypes
import os
import select
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import gymnasium as gym

from roboreward_gym.errors import RoboRewardError

# Parameter numbers of mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4

INTERRUPTED = 130
"""Exit status of a program that was stopped by Ctrl-C, as shells report it."""
READER_GONE = 141
"""Exit status of a program whose output nobody reads any more, as shells report it."""


def run_program(main: Callable[[], int | None]) -> NoReturn:
    """Run a program and leave Python with its exit status.

    An error that we raise on purpose, or the name of an environment that there is not, ends it with
    the message of the error, and Ctrl-C with one word: a traceback is of no use to the user of a program.
    """
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:  # by `python -m`: its --help names the module, not the path of a file
        sys.argv[0] = f"python -m {spec.name.removesuffix('.__main__')}"
    try:
        status = main()
    except (RoboRewardError, gym.error.UnregisteredEnv) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        sys.exit(READER_GONE)
    sys.exit(status)


def _reader_is_gone() -> bool:
    """Whether nobody reads what we print any more, as behind `| head`; what is left then goes nowhere."""
    if not hasattr(select, "poll"):  # Windows
        return False
    stdout = sys.stdout.fileno()
    poll = select.poll()
    poll.register(stdout, 0)
    gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout)
    return gone


def this_python() -> str:
    """How to call the interpreter that runs, from the present folder: often `.venv/bin/python`."""
    here = os.path.relpath(sys.executable)
    return sys.executable if here.startswith(os.pardir) else Path(here).as_posix()


def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory; call it once, early, in a program (not in a library).

    glibc returns every large block to the kernel as soon as a tensor is freed; the next tensor then
    waits for fresh pages. On virtual machines these page faults cost more than the arithmetic
    (measured in training on a CPU: 4.1 s instead of 0.66 s a step).

    Returns:
        Whether it took effect: False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**26))
    accepted = [mallopt(name, value) for name, value in settings]
    return accepted == [1] * len(settings)
