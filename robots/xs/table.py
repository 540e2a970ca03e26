"""A real table: only the operator knows the true state, and puts things back."""

import json
from pathlib import Path

import numpy as np

from robots.conventions import ARM_JOINTS, LANDMARKS
from robots.errors import ArmFault, NoTruth, UnreachablePose
from robots.scene import Split
from robots.xs.arm import XsArm
from robots.xs.operator import KEYS, Operator


class RealTable:
    """A `Scene` whose true level is the operator's rating, for reports.

    Args:
        arm: Goes out of the way while hands are on the table.
        tasks: Tasks that may be given.
        operator: The person beside it.
        script: File of a scripted reset (see `load_script`), such as one that pushes a drawer shut; then
            nobody is asked to put things back.
    """

    def __init__(
        self,
        arm: XsArm,
        tasks: tuple[str, ...],
        operator: Operator,
        *,
        script: Path | None = None,
    ) -> None:
        self._arm, self._operator = arm, operator
        self.tasks = tasks
        self._script = [] if script is None else load_script(script)
        self._task = ""
        self.rated = False
        """Whether the operator has been asked about this episode."""

    def reset(self, rng: np.random.Generator, task: str, split: Split) -> None:
        """Have things put back, by the script or by hand; the arm is out of the way meanwhile.

        Raises:
            ArmFault: The operator stopped it.
            KeyboardInterrupt: The operator wants to end.
        """
        self._operator.check_end()
        self._arm.retreat()  # asks first if the arm was stopped
        if self._script:
            self._arm.go_through(self._script)
        else:
            self._operator.ask(
                f"Next: {task!r}. Put everything back and your hands away, then press Enter (q to end).\n"
                f"During the episode: {KEYS}."
            )
        reason = self._operator.poll()
        self._operator.check_end()
        if reason is not None:
            raise ArmFault(reason)
        self._operator.begin_episode()  # what was pressed before is about another one
        self._task, self.rated = task, False

    def observe(self) -> None:
        """Look at the keyboard, without waiting.

        Raises:
            ArmFault: The operator stopped the episode, or reports that it is spoiled; the arm holds.
            KeyboardInterrupt: The operator wants to end.
        """
        reason = self._operator.poll()
        self._operator.check_end()
        if reason is not None:
            self._arm.stop(reason)

    def rate(self) -> int | None:
        """The arm rests; ask how the episode went, unless a key has been pressed for it; None for unknown.

        With a scripted reset nobody is asked, since nobody may be there.
        """
        self.rated = True
        self._operator.poll()  # keys of just now
        if self._script:
            return self._operator.level
        self._arm.rest()
        return self._operator.ask_level(self._task)

    @property
    def rating(self) -> int | None:
        """What the operator has said of this episode, 1..5; None for unknown."""
        return self._operator.level

    def end_before_next(self) -> None:
        """End the session before the next episode: this one is complete."""
        self._operator.end_later()

    def level(self, task: str) -> int:
        """The operator's rating of this episode, 1..5.

        Raises:
            NoTruth: Nothing, or about another task.
        """
        level = self._operator.level
        if level is None or task != self._task:
            raise NoTruth(
                "The operator has not rated the episode: press s, f, or a level from 1 to 5."
            )
        return level

    def askable(self, task: str) -> bool:
        """Whether it is a task of this table."""
        return task in self.tasks

    def caption(self) -> str:
        """Nobody describes a real table."""
        return ""

    def movable(self) -> tuple[np.ndarray, ...]:
        """Unknown."""
        return ()

    def landmarks(self) -> np.ndarray:
        """Unknown: all absent."""
        return np.zeros((len(LANDMARKS), 4), np.float32)


def load_script(path: Path) -> list[tuple[np.ndarray, float]]:
    """Read a scripted reset: a JSON list of `{"joints": [6 x rad], "gripper": 0..1}`, gone through slowly.

    Raises:
        UnreachablePose: Something else is in the file.
    """
    try:
        poses = [
            (np.array(pose["joints"], float), float(pose["gripper"]))
            for pose in json.loads(path.read_text())
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise UnreachablePose(
            f"{path} is not a JSON list of joints and gripper: {type(error).__name__}: {error}."
        ) from error
    if not poses or any(joints.shape != (len(ARM_JOINTS),) for joints, _ in poses):
        raise UnreachablePose(f"Poses in {path} must have {len(ARM_JOINTS)} joints, got {poses}.")
    return poses
