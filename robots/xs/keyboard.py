"""The operator's keyboard: keys without Enter that never block, and questions that wait for Enter."""

import contextlib
import os
import select
import sys
import termios
import tty
from collections.abc import Generator
from typing import Protocol

from robots.errors import MotionRefused


class Keyboard(Protocol):
    """What the operator presses."""

    def pressed(self) -> str:
        """Keys since the last call, in order; empty if there are none. Never waits."""
        ...

    def ask(self, question: str) -> str:
        """Show a question and wait for a line."""
        ...


def require_terminal(descriptor: int | None = None) -> None:
    """Refuse a keyboard that cannot be one: without it nobody could stop the arm by a key, or agree to a motion.

    Args:
        descriptor: File descriptor to read from; by default standard input.

    Raises:
        MotionRefused: It is not a terminal.
    """
    if not os.isatty(sys.stdin.fileno() if descriptor is None else descriptor):
        raise MotionRefused(
            "A real arm needs the keyboard of whoever watches it, and standard input is not a terminal. Start the "
            "program in a terminal (over ssh: ssh -t), not in the background or in a pipe."
        )


class Terminal:
    """The keyboard of a terminal.

    Args:
        descriptor: File descriptor to read from; by default standard input.
        output: File descriptor to write to.

    It is in line mode except while `pressed` looks, so that Ctrl-C works at any time and a crash leaves a
    terminal that works.
    """

    def __init__(self, descriptor: int | None = None, output: int | None = None) -> None:
        self._in = sys.stdin.fileno() if descriptor is None else descriptor
        self._out = sys.stderr.fileno() if output is None else output

    def pressed(self) -> str:
        """Keys since the last call; none if there is no terminal."""
        if not os.isatty(self._in):
            return ""
        keys = b""
        with self._single_keys():
            while select.select([self._in], [], [], 0.0)[0]:
                chunk = os.read(self._in, 64)
                if not chunk:
                    break
                keys += chunk
        return keys.decode(errors="replace")

    def ask(self, question: str) -> str:
        """Show a question and wait for a line.

        Raises:
            KeyboardInterrupt: There is nobody to answer.
        """
        os.write(self._out, f"\n{question} ".encode())
        line = b""
        while not line.endswith(b"\n"):
            byte = os.read(self._in, 1)
            if not byte:
                raise KeyboardInterrupt("There is no operator: the terminal has ended.")
            line += byte
        return line.decode(errors="replace").rstrip("\r\n")

    @contextlib.contextmanager
    def _single_keys(self) -> Generator[None, None, None]:
        before = termios.tcgetattr(self._in)
        # Not TCSAFLUSH, which would throw away what was pressed since the last look.
        tty.setcbreak(self._in, termios.TCSANOW)
        try:
            yield
        finally:
            termios.tcsetattr(self._in, termios.TCSANOW, before)
