"""How command-line programs start again and end."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import gymnasium as gym

from roboreward_gym.errors import RoboRewardError

INTERRUPTED = 130
"""Exit status of a program that was stopped by Ctrl-C, as shells report it."""


def run_program(main: Callable[[], int | None]) -> NoReturn:
    """Run a program and leave Python with its exit status.

    An error that we raise on purpose, or the name of an environment that there is not, ends it with
    what the error says, and Ctrl-C with a word: a traceback tells the user of a program nothing.
    """
    try:
        status = main()
    except (RoboRewardError, gym.error.UnregisteredEnv) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped.\n")
        sys.exit(INTERRUPTED)
    sys.exit(status)


def this_python() -> str:
    """How to call the interpreter that runs, from the present folder: often `.venv/bin/python`."""
    here = os.path.relpath(sys.executable)
    return sys.executable if here.startswith(os.pardir) else Path(here).as_posix()
