"""One process of this computer at a time drives a robot: a lock that ends with the process."""

import fcntl
import os
import tempfile
from pathlib import Path
from typing import TextIO

from robots.errors import ArmUnavailable


class Claim:
    """The right to drive a robot, among the processes of this computer.

    The network lists a new client only after a moment, so that two that start together do not see one another. A
    file lock is seen at once; it is gone when its process is, also after a kill.

    Args:
        robot_name: Namespace of the driver.
        folder: Where the lock's file is; by default the temporary folder.
    """

    def __init__(self, robot_name: str, folder: Path | None = None) -> None:
        domain = os.environ.get("ROS_DOMAIN_ID") or "0"
        name = f"roboreward-{domain}-{robot_name.strip('/').replace('/', '-')}.lock"
        self._path = (folder or Path(tempfile.gettempdir())) / name
        self._name = robot_name
        self._file: TextIO | None = None

    def take(self) -> None:
        """Take the right; nothing happens if we have it.

        Raises:
            ArmUnavailable: Another process has it.
        """
        if self._file is not None:
            return
        try:
            file = self._path.open("a+")
        except PermissionError as error:
            raise ArmUnavailable(
                f"Another user of this computer has driven /{self._name}. Ask them to stop, and delete "
                f"{self._path}."
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            file.close()
            raise ArmUnavailable(
                f"Another program drives /{self._name} (process {owner}). Stop it: two set-points in "
                "turn shake the arm."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def release(self) -> None:
        """Give the right back; may be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None
