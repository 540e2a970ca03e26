"""The rows of `benchmarks.ros_faults`: each breaks something, looks at the arm, mends it and sees the next episode through."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.ros_processes import CLOCK, Observer, Process
from robots.recording import INDEX

SLOW_RAD_S = 0.75
"""Faster than any slow move, slower than the swinging."""
STEPS_BEFORE = 8
STOPPED_S = 3.0
"""How long SIGSTOP holds the driver."""
TRIES = 10
"""Second learners."""
DISK = "40m"
"""Size of the disk that becomes full."""

FAULTS: dict[str, dict[str, Any]] = {
    "driver death": {"kind": "driver_death"},
    "SIGSTOP of the driver for 3 s": {},
    "frozen camera": {"kind": "frozen_camera"},
    "camera repeats its last image": {"kind": "frozen_camera", "repeat": True},
    "late joint states": {"kind": "late_joint_states", "delay_s": 0.3},
    "servo error": {"kind": "servo_error", "joint": "shoulder"},
    "lost commands": {"kind": "lost_messages", "stream": "commands", "probability": 1.0},
    "lost joint states": {"kind": "lost_messages", "stream": "joint_states", "probability": 1.0},
    "lost images": {"kind": "lost_messages", "stream": "images", "probability": 1.0},
    "wrong joint order": {"kind": "wrong_joint_order"},
    "NaN joints": {"kind": "nan_joints", "joint": "shoulder"},
    "clock jump": {"kind": "clock_jump", "offset_s": 3600.0},
    "bus that cannot be read": {"kind": "bus_error"},
    "gripper overload": {"kind": "servo_error", "joint": "gripper"},
    "camera at 3 Hz": {"kind": "slow_camera", "hz": 3.0},
    "image size that changes": {"kind": "image_size"},
    "second camera": {},
}
"""In the middle of an episode."""
UNSEEN = (
    "driver death", "lost joint states", "SIGSTOP of the driver for 3 s", "bus that cannot be read",
)  # fmt: skip
BETWEEN: dict[str, dict[str, Any]] = {
    "register read that is cut short": {"kind": "short_registers", "joint": "elbow"},
    "services that answer late": {"kind": "late_services", "delay_s": 8.0},
    "services that fail": {"kind": "failed_services"},
}
"""Seen between two episodes, where services are asked: the episode that is played is sound."""
CLIENT_FAULTS = {
    "SIGTERM of the client": signal.SIGTERM,
    "Ctrl-C of the client": signal.SIGINT,
    "SIGHUP of the client": signal.SIGHUP,
    "kill -9 of the client": signal.SIGKILL,
}
LEARNER, FULL, REWARD_MODEL = "second learner", "full disk", "network loss of the reward model"
ALL = (*FAULTS, *BETWEEN, *CLIENT_FAULTS, LEARNER, FULL, REWARD_MODEL)


@dataclass(frozen=True)
class Fault:
    """A row of the table.

    Attributes:
        fault: What happened.
        stopped_ms: From the fault until the arm stood still, or until the client gave up where nobody could see
            the arm; None where nothing has to stop.
        marked_invalid: The episode is on disk with the reason; None where it is none of its fault.
        recovered: The next episode was played to its end.
        lost: Episodes that ended, soundly or by a fault, and are not on disk.
        reason: What the client said.
        load: Load of the machine meanwhile.
    """

    fault: str
    stopped_ms: float | None
    marked_invalid: bool | None
    recovered: bool
    lost: int
    reason: str = ""
    load: float = 0.0


def driver() -> Process:
    """The simulated driver, with the camera at 30 Hz."""
    return Process(
        "robots.ros.simulator.driver", "--scene", "toy", "--camera-hz", "30", "--clock", *CLOCK
    )


def client(
    folder: Path, *, episodes: int = 1000, reward_model: str = "constant", own_temporary: str = ""
) -> Process:
    """A client that swings the arm; with a temporary folder of its own it is as on another computer."""
    environment = {"TMPDIR": own_temporary} if own_temporary else None
    arguments = (str(folder), str(episodes), reward_model, *CLOCK)
    return Process("benchmarks.ros_client", *arguments, environment=environment)


def moving(event: dict[str, Any]) -> bool:
    """Whether an episode is well under way."""
    return event["event"] == "step" and event["step"] == STEPS_BEFORE


def played(event: dict[str, Any]) -> bool:
    """Whether an episode was played to its end, and scored."""
    return event["event"] == "step" and "reward" in event


def invalid_on_disk(folder: Path) -> bool:
    """Whether the episode that ended last is on disk, marked."""
    lines = (folder / INDEX).read_text().splitlines()
    return bool(lines) and json.loads(lines[-1])["invalid"] is not None


def lost(child: Process, folder: Path) -> int:
    """Episodes that ended and are not on disk."""
    ended, begun = 0, False
    for event in list(child.events):
        begun |= event["event"] == "reset"
        if begun and (played(event) or event["event"] == "invalid"):
            ended, begun = ended + 1, False
    index = folder / INDEX
    kept = len(index.read_text().splitlines()) if index.exists() else 0
    return max(0, ended - kept)


def row(
    name: str,
    stopped_s: float | None,
    *,
    marked: bool | None,
    recovered: bool,
    lost: int,
    reason: str = "",
) -> Fault:
    """A row, with the load of the machine now."""
    milliseconds = None if stopped_s is None else round(1e3 * stopped_s, 1)
    load = round(os.getloadavg()[0], 2)
    return Fault(name, milliseconds, marked, recovered, lost, reason, load)


def rate(folder: Path, episodes: int) -> dict[str, Any]:
    """The undisturbed loop: rate, lateness and images, with the camera at 30 Hz."""
    child = client(folder / "rate", episodes=episodes)
    child.wait_for(lambda e: e["event"] == "ended")
    child.end(ask=False)
    reports = [e for e in child.events if e["event"] == "report"]
    first, report = reports[0], reports[-1]
    images_hz = (report["images"] - first["images"]) / (report["at"] - first["at"])
    return {
        "loop_hz": round(report["hz"], 4),
        "lateness_p95_ms": round(report["lateness_p95_ms"], 3),
        "periods": report["periods"],
        "overruns": report["overruns"],
        "images_hz": round(images_hz, 3),
        "images": report["images"],
        "images_lost": report["images_lost"],
        "rate_load": round(os.getloadavg()[0], 2),
    }


@contextmanager
def broken(name: str, observer: Observer, machine: list[Process]) -> Generator[float]:
    """Break something, and mend it at the end; yields the date of the fault [s]."""
    if name.startswith("SIGSTOP"):
        began = machine[0].signal(signal.SIGSTOP)
        threading.Timer(STOPPED_S, machine[0].signal, [signal.SIGCONT]).start()
        yield began
    elif name == "second camera":
        intruder = Process("benchmarks.ros_second_camera")
        try:
            intruder.wait_for(lambda e: e["event"] == "publishing")
            yield intruder.events[0]["at"]
        finally:
            intruder.end()
    else:
        yield observer.inject({**FAULTS, **BETWEEN}[name])
        if name == "driver death":
            machine[0].end()
            machine[0] = driver()
        else:
            observer.inject({})


def driver_faults(
    observer: Observer, names: Sequence[str], folder: Path, machine: list[Process]
) -> Iterator[Fault]:
    """Break the driver in the middle of an episode, mend it, see the next episode through, and so on."""

    def spoil(child: Process, seen: int, name: str) -> Seen:
        with broken(name, observer, machine) as began:
            seen = child.wait_for(lambda e: e["event"] == "invalid", seen)
            event = child.events[seen - 1]
            time.sleep(1.0)
            last = event["at"] if name in UNSEEN else observer.last(began) or began
        return Seen(seen, last - began, invalid_on_disk(folder), event["reason"])

    return in_turn(names, folder, spoil)


def between_faults(
    observer: Observer, names: Sequence[str], folder: Path, machine: list[Process]
) -> Iterator[Fault]:
    """Break a service during an episode, which goes on; see the next one refused, mend it, and see one through."""

    def refuse(child: Process, seen: int, name: str) -> Seen:
        with broken(name, observer, machine):
            seen = child.wait_for(played, seen)
            marked = invalid_on_disk(folder)
            seen = child.wait_for(lambda e: e["event"] == "refused", seen)
            event = child.events[seen - 1]
        still = observer.last(event["at"]) is None
        return Seen(seen, 0.0 if still else None, marked, event["reason"])

    return in_turn(names, folder, refuse)


@dataclass(frozen=True)
class Seen:
    """What a fault did: the number of the client's last event, when motion stopped [s], the mark on disk, the reason."""

    events: int
    stopped_s: float | None
    marked: bool
    reason: str


def in_turn(
    names: Sequence[str], folder: Path, fault: Callable[[Process, int, str], Seen]
) -> Iterator[Fault]:
    """Bring about one fault after another while one client plays, each followed by an episode that has to succeed."""
    if not names:
        return
    child, number, name = client(folder), 0, names[0]
    try:
        for name in names:
            seen = fault(child, child.wait_for(moving, number), name)
            number = child.wait_for(played, seen.events)
            yield row(
                name, seen.stopped_s, marked=seen.marked, recovered=True, lost=lost(child, folder),
                reason=seen.reason,
            )  # fmt: skip
    except TimeoutError as error:
        yield row(
            name, None, marked=None, recovered=False, lost=lost(child, folder), reason=str(error)
        )
    finally:
        child.end()


def client_fault(observer: Observer, name: str, folder: Path) -> Fault:
    """End the client in the middle of an episode, and start another one."""
    number = CLIENT_FAULTS[name]
    child = client(folder)
    child.wait_for(moving)
    began = child.signal(number)
    orderly = number != signal.SIGKILL
    if orderly:
        child.wait_for(lambda e: e["event"] == "ended")
    time.sleep(1.0)
    # An orderly end goes on slowly to the sleep pose; what has to stop is the episode's motion.
    last = (observer.last(began, SLOW_RAD_S) if orderly else observer.last(began)) or began
    child.end(ask=False)
    marked = invalid_on_disk(folder) if orderly else None
    gone = lost(child, folder)
    return row(name, last - began, marked=marked, recovered=plays_again(folder), lost=gone)


def plays_again(folder: Path) -> bool:
    """Whether another client plays an episode to its end."""
    after = client(folder, episodes=1)
    try:
        after.wait_for(played)
        recovered = True
    except TimeoutError:
        recovered = False
    after.end(ask=not recovered)
    return recovered


def second_learner(folder: Path) -> Fault:
    """Start another client again and again while one drives the arm: as on this computer, twice as on another one."""
    first = client(folder / "first")
    seen, refused, reason = first.wait_for(moving), 0, ""
    for number in range(TRIES):
        elsewhere = number >= TRIES - 2
        with tempfile.TemporaryDirectory() as scratch:
            second = client(
                folder / str(number), episodes=1, own_temporary=scratch if elsewhere else ""
            )
            index = second.wait_for(lambda e: e["event"] in ("refused", "reset"))
            event = second.events[index - 1]
            refused += event["event"] == "refused"
            reason = event.get("reason", reason)
            second.end()
    seen = first.wait_for(played, seen)
    # From another computer it is noticed by the network, which spoils the episode that is played.
    marked = invalid_on_disk(folder / "first") if any(_invalid(first)) else None
    gone = lost(first, folder / "first")
    first.end()
    words = f"{refused} of {TRIES} refused. {reason}"
    return row(LEARNER, None, marked=marked, recovered=refused == TRIES, lost=gone, reason=words)


def _invalid(child: Process) -> list[dict[str, Any]]:
    return [event for event in list(child.events) if event["event"] == "invalid"]


def full_disk(observer: Observer, folder: Path) -> Fault:
    """Fill a small disk during an episode: it is kept, the next one is refused, and the program ends in an orderly way."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(folder)]
    subprocess.run(mount, check=True)
    try:
        child = client(folder / "episodes")
        seen = child.wait_for(moving)
        with suppress(OSError), (folder / "other").open("wb") as other:
            while True:
                other.write(bytes(1_000_000))
        seen = child.wait_for(played, seen)
        marked = invalid_on_disk(folder / "episodes")
        index = child.wait_for(lambda e: e["event"] in ("refused", "ended"), seen)
        event = child.events[index - 1]
        child.wait_for(lambda e: e["event"] == "ended", index - 1)
        still = observer.last(event["at"], SLOW_RAD_S) is None
        child.end(ask=False)
        gone = lost(child, folder / "episodes")
        (folder / "other").unlink()
        recovered = plays_again(folder / "episodes")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
    return row(
        FULL, 0.0 if still else None, marked=marked, recovered=recovered, lost=gone,
        reason=event.get("reason", ""),
    )  # fmt: skip


def reward_model_fault(folder: Path) -> Fault:
    """Take the reward model off the network for the end of an episode: the episode must not be lost."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    arguments = ("reward_models.serving.server", "--model", "constant:4", "--port", port)
    server = Process(*arguments)
    child = client(folder, episodes=1, reward_model=f"remote:http://127.0.0.1:{port}")
    try:
        child.wait_for(moving)
        server.end()
        seen = child.wait_for(lambda e: e["event"] == "step" and e["step"] == 39)
        time.sleep(8.0)
        waited = len(child.events) == seen
        server = Process(*arguments)
        seen = child.wait_for(played, seen)
        good = waited and child.events[seen - 1]["reward"] == 0.75
        return row(
            REWARD_MODEL, None, marked=invalid_on_disk(folder), recovered=good,
            lost=lost(child, folder),
        )  # fmt: skip
    except TimeoutError as error:
        return row(REWARD_MODEL, None, marked=None, recovered=False, lost=0, reason=str(error))
    finally:
        child.end()
        server.end()
