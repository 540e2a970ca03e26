"""Simulated time that waits for its clients: each reports how far it has come, and none is left behind."""

import threading

MAX_AHEAD_S = 0.05
"""How far the simulation may be ahead of the slowest client [s]."""
REPORT_EVERY_S = 0.02
"""How often a client reports its progress, in simulated time [s]."""
HEARTBEAT_S = 0.5
"""How often it reports at least, in real time [s]."""
CLIENT_TIMEOUT_S = 10.0
"""A client without a report for this long, in real time [s], has crashed; nobody waits for it any more."""


class ClientProgress:
    """The clients of a simulation, each with the simulated time that it has seen and when it reported that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, float]] = {}

    def report(self, client: str, seen_s: float, real_s: float) -> None:
        """A client has seen simulated time `seen_s`, at the real time `real_s`; 0 means that it left."""
        with self._lock:
            if seen_s > 0.0:
                self._seen[client] = (seen_s, real_s)
            else:
                self._seen.pop(client, None)

    def may_advance(self, until_s: float, real_s: float) -> bool:
        """Whether simulated time may go on to `until_s`."""
        with self._lock:
            self._seen = {
                client: (seen_s, reported_s)
                for client, (seen_s, reported_s) in self._seen.items()
                if real_s - reported_s <= CLIENT_TIMEOUT_S
            }
            return all(until_s <= seen_s + MAX_AHEAD_S for seen_s, _ in self._seen.values())
