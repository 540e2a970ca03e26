"""How much of what clients send may be in memory at a time."""

from collections.abc import Generator
from contextlib import contextmanager


class QueueFull(Exception):
    """More is waiting than the server takes: the client is asked to come back."""


class Room:
    """Bytes that requests may take in memory; for one event loop, so it needs no lock.

    Args:
        size: Most bytes at a time.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.used = 0

    @contextmanager
    def hold(self, size: int) -> Generator["Hold"]:
        """Take some bytes, and give back whatever is held at the end of the block.

        Raises:
            QueueFull: They are not there.
        """
        held = Hold(self)
        try:
            held.resize(size)
            yield held
        finally:
            held.resize(0)


class Hold:
    """Bytes that one request takes."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._size = 0

    def resize(self, size: int) -> None:
        """Hold another number of bytes from now on.

        Raises:
            QueueFull: They are not there; what was held before still is.
        """
        more = size - self._size
        if more > 0 and self._room.used + more > self._room.size:
            raise QueueFull
        self._room.used += more
        self._size = size
