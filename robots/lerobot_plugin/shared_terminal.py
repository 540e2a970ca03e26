"""One reader of the terminal for everybody in a process who needs keys.

LeRobot's commands read keys in a thread of their own (n, r, q, arrows). If the arm's operator and the teleoperator read
the same terminal beside it, each key would go to one of the three by chance, the space bar that stops the arm too. So
this takes the terminal, keeps what is ours and passes all else on through a pseudo terminal in place of standard input.
"""

import atexit
import contextlib
import os
import pty
import select
import sys
import termios
import threading
import tty

from robots.xs.keyboard import Terminal
from robots.xs.operator import STOP

POLL_S = 0.05


class SharedTerminal:
    """A `Keyboard` for the operator, and keys of motion for a teleoperator. Takes the terminal between `open` and `close`.

    Args:
        descriptor: File descriptor of standard input.
        output: File descriptor for questions.
    """

    _shared: "SharedTerminal | None" = None

    def __init__(self, descriptor: int = 0, output: int = 2) -> None:
        self._in, self._out = descriptor, output
        self._lock = threading.Lock()  # of everything below, which the reading thread uses too
        self._users = 0
        self._motion_keys: frozenset[str] = frozenset()
        self._stops, self._moves = "", ""
        self._line: bytearray | None = None
        self._answered = threading.Condition(self._lock)
        self._ended = False

    @classmethod
    def of_process(cls) -> "SharedTerminal":
        """The one of this process's standard input."""
        if cls._shared is None:
            cls._shared = cls(sys.__stdin__.fileno() if sys.__stdin__ else 0)
        return cls._shared

    @property
    def is_tty(self) -> bool:
        """Whether standard input is a terminal."""
        return os.isatty(self._in)

    def open(self, motion_keys: frozenset[str] = frozenset()) -> None:
        """Begin to read; each call needs a `close`. Does nothing but count without a terminal."""
        with self._lock:
            self._users += 1
            self._motion_keys |= motion_keys
            if self._users > 1 or not self.is_tty:
                return
            self._ended = False
            self._terminal = os.dup(self._in)
            self._before = termios.tcgetattr(self._terminal)
            # Not TCSAFLUSH, which would throw away keys.
            tty.setcbreak(self._terminal, termios.TCSANOW)
            self._others, follower = pty.openpty()
            os.set_blocking(self._others, False)
            os.dup2(follower, self._in)
            os.close(follower)
            self._thread = threading.Thread(target=self._read, name="shared_terminal", daemon=True)
            # A command of LeRobot's that fails early closes nothing.
            atexit.register(self._give_back)
        self._thread.start()

    def close(self) -> None:
        """The last one to close gives the terminal back as it was."""
        with self._lock:
            if self._users == 0:
                return
            self._users -= 1
            if self._users:
                return
        self._give_back()

    def _give_back(self) -> None:
        """Leave the terminal as it was; nothing happens if it was not taken."""
        self._users = 0
        if not hasattr(self, "_terminal"):
            return
        atexit.unregister(self._give_back)
        self._thread.join()
        termios.tcsetattr(self._terminal, termios.TCSANOW, self._before)
        os.dup2(self._terminal, self._in)
        os.close(self._terminal)
        os.close(self._others)
        del self._terminal
        self._motion_keys = frozenset()

    def pressed(self) -> str:
        """Presses of the operator's stop key since the last call. Never waits."""
        with self._lock:
            keys, self._stops = self._stops, ""
        return keys

    def motion_keys(self) -> str:
        """Keys of motion since the last call."""
        with self._lock:
            keys, self._moves = self._moves, ""
        return keys

    def ask(self, question: str) -> str:
        """Show a question and wait for a line.

        Raises:
            KeyboardInterrupt: There is nobody to answer.
        """
        if not hasattr(self, "_terminal"):
            return Terminal(self._in, self._out).ask(question)
        self.write(question)
        with self._answered:
            self._line = bytearray()
            self._answered.wait_for(lambda: self._ended or bytes(self._line or b"").endswith(b"\n"))
            line, self._line = bytes(self._line or b""), None
            if not line.endswith(b"\n"):
                raise KeyboardInterrupt("There is no operator: the terminal has ended.")
        return line.decode(errors="replace").strip()

    def write(self, text: str) -> None:
        """Show a line of text."""
        os.write(self._out, f"\n{text}\n".encode())

    def _read(self) -> None:
        while self._users:
            if not select.select([self._terminal], [], [], POLL_S)[0]:
                continue
            try:
                chunk = os.read(self._terminal, 64)
            except OSError:  # the terminal was closed
                chunk = b""
            with self._answered:
                self._ended |= not chunk
                for byte in chunk:
                    self._take(bytes([byte]))
                self._answered.notify_all()
            if not chunk:
                return

    def _take(self, byte: bytes) -> None:
        key = byte.decode("latin-1")
        if self._line is not None:
            self._line += byte.replace(b"\r", b"\n")
            os.write(self._out, byte)
        elif key == STOP:
            self._stops += key
        elif key in self._motion_keys:
            self._moves += key
        else:
            with contextlib.suppress(BlockingIOError):  # nobody reads there
                os.write(self._others, byte)
