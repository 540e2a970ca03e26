"""What was looked at on a real arm before it may play: camera, gripper and workspace, in a file that runs require."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from robots.disk import naming
from robots.errors import MotionRefused
from robots.limits import limits_from_json, limits_to_json
from robots.safety import SafetyLimits

FOLDER = Path("robot_setup")
"""Where set-ups are, a folder for each robot name."""
FILE, VIEW = "setup.json", "view.png"
CHECKS = ("joint states", "camera", "view", "colours", "gripper", "workspace")
SLACK_M = 1e-6
HOW = "Run `python -m robots.check --i-am-watching` beside the arm (docs/robot.md)"


@dataclass(frozen=True)
class Finding:
    """What one check has found.

    Attributes:
        check: One of `CHECKS`.
        passed: Whether it is as it should be; None if nobody has looked.
        found: In words, and what to do.
    """

    check: str
    passed: bool | None
    found: str


@dataclass(frozen=True, eq=False)
class ArmSetup:
    """An arm as it was checked.

    Attributes:
        robot_name: Namespace of its driver.
        camera_topic: Topic of the camera that was looked through.
        real: Whether it was a real arm, and no simulated driver.
        limits: Whose workspace was gone through.
        findings: One for each of `CHECKS`.
        date: When, as text.
    """

    robot_name: str
    camera_topic: str
    real: bool
    limits: SafetyLimits
    findings: tuple[Finding, ...]
    date: str

    @classmethod
    def load(cls, folder: Path) -> "ArmSetup":
        """Read what `save` wrote.

        Raises:
            MotionRefused: There is none, or the file is none.
        """
        path = folder / FILE
        try:
            plain = json.loads(path.read_text())
            findings = tuple(Finding(**finding) for finding in plain["findings"])
            limits = limits_from_json(plain["limits"], str(path))
            names = ("robot_name", "camera_topic", "real", "date")
            return cls(**{n: plain[n] for n in names}, limits=limits, findings=findings)
        except FileNotFoundError as error:
            raise MotionRefused(
                f"This arm has not been set up: there is no {path}. {HOW}."
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise MotionRefused(
                f"{path} is not a set-up of an arm ({type(error).__name__}: {error}). {HOW}."
            ) from error

    def save(self, folder: Path) -> Path:
        """Write it; returns the file."""
        plain = {
            "robot_name": self.robot_name,
            "camera_topic": self.camera_topic,
            "real": self.real,
            "date": self.date,
            "limits": limits_to_json(self.limits),
            "findings": [vars(finding) for finding in self.findings],
        }
        path = folder / FILE
        with naming(path):
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(plain, indent=2) + "\n")
        return path

    def require(self, robot_name: str, camera_topic: str, limits: SafetyLimits) -> None:
        """Refuse to play with a real arm that was not checked like this.

        Raises:
            MotionRefused: Another arm or camera, a larger workspace, or a check that did not pass.
        """
        if not self.real:
            raise MotionRefused(
                f"The set-up is of a simulated driver, and this arm is real. {HOW}."
            )
        for what, here, checked in (
            ("robot", robot_name, self.robot_name),
            ("camera", camera_topic, self.camera_topic),
        ):
            if here != checked:
                raise MotionRefused(
                    f"The set-up is of the {what} {checked}, and this is {here}. {HOW} for this one."
                )
        ours, low, high = self.limits, limits.box_low, limits.box_high
        within = (low >= ours.box_low - SLACK_M).all() and (high <= ours.box_high + SLACK_M).all()
        if not within or limits.table_m < ours.table_m - SLACK_M:
            raise MotionRefused(
                f"The workspace of {low} to {high} m above a table at {limits.table_m} m is larger than the one that "
                f"was gone through, {ours.box_low} to {ours.box_high} m above {ours.table_m} m. {HOW} with these "
                "limits, or choose smaller ones."
            )
        missing = [f"{f.check}: {f.found}" for f in of_all(self.findings) if not f.passed]
        if missing:
            raise MotionRefused(f"The set-up of this arm did not pass. {' '.join(missing)} {HOW}.")


def of_all(findings: Iterable[Finding]) -> list[Finding]:
    """A finding for each of `CHECKS`, in their order; nobody has looked where there is none."""
    known = {finding.check: finding for finding in findings}
    return [
        known.get(check, Finding(check, passed=None, found="nobody has looked."))
        for check in CHECKS
    ]
