"""Plays way points from this process: the driver's own player stops or skips at whole seconds."""

import threading
from collections.abc import Callable, Sequence
from itertools import pairwise

from rclpy.clock import Clock

POLL_S = 0.005


class TrajectoryPlayer:
    """Sends way points at their times, in a thread of its own.

    Args:
        clock: By which times go.
        send: Takes the values of a point.
    """

    def __init__(self, clock: Clock, send: Callable[[Sequence[float]], None]) -> None:
        self._clock, self._send = clock, send
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_playing(self) -> bool:
        """Whether way points are still to come."""
        return self._thread is not None and self._thread.is_alive()

    def play(self, points: Sequence[tuple[float, Sequence[float]]]) -> None:
        """Begin with points at times [s] from now.

        As the driver's player: the first point is where the arm should be, each other one is sent when the one before
        it is due, and is reached when it is due if the profile is as long.
        """
        self._thread = threading.Thread(
            target=self._run, args=(list(points),), name="trajectory", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Send no more; the arm holds the last point that was sent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, points: list[tuple[float, Sequence[float]]]) -> None:
        start = self._clock.now()
        for (due_s, _), (_, values) in pairwise(points):
            while (self._clock.now() - start).nanoseconds * 1e-9 < due_s:
                if self._stop.wait(POLL_S):
                    return
            self._send(values)
