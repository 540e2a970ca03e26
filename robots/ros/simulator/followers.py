"""Simulated time that waits for its clients: they say how far they have come, and it does not run away from them."""

import threading

AHEAD_S = 0.05
"""How far the simulation may be ahead of the slowest client [s]."""
SAID_EVERY_S = 0.02
"""How often a client says how far it has come, in simulated time [s]."""
ALIVE_EVERY_S = 0.5
"""How often it says so at least, in real time [s]."""
FORGOTTEN_S = 10.0
"""A client that was silent for this long, in real time [s], has crashed; nobody waits for it any more."""


class Followers:
    """The clients of a simulation, each with the simulated time that it has seen and when it said so."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, float]] = {}

    def say(self, name: str, seen_s: float, real_s: float) -> None:
        """A client has seen simulated time `seen_s`, at the real time `real_s`; 0 says good-bye, or not yet."""
        with self._lock:
            if seen_s > 0.0:
                self._seen[name] = (seen_s, real_s)
            else:
                self._seen.pop(name, None)

    def allow(self, until_s: float, real_s: float) -> bool:
        """Whether simulated time may go on to `until_s`."""
        with self._lock:
            self._seen = {
                name: (seen_s, said_s)
                for name, (seen_s, said_s) in self._seen.items()
                if real_s - said_s <= FORGOTTEN_S
            }
            return all(until_s <= seen_s + AHEAD_S for seen_s, _ in self._seen.values())
