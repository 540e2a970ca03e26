"""A real table: nobody knows the truth but the operator, who also puts things back."""

import json
from pathlib import Path

import numpy as np

from robots.conventions import ARM_JOINTS, LANDMARKS
from robots.errors import ArmFault, NoTruth, UnreachablePose
from robots.scene import Split
from robots.xs.arm import XsArm
from robots.xs.keyboard import Keyboard

SUCCESS, FAILURE, SPOILED, STOP, QUIT = "s", "f", "i", " ", "q"
KEYS = "s success, f failure, i spoiled (I touched it), space stop at once, q end"
LEVELS = {SUCCESS: 5, FAILURE: 1}


class RealTable:
    """A `Scene` whose truth is what the operator says, for reports.

    Args:
        arm: Goes out of the way while hands are on the table.
        commands: Commands that may be given.
        keyboard: The operator's.
        script: File of a scripted reset (see `load_script`), such as one that pushes a drawer shut; then
            nobody is asked to put things back.
    """

    def __init__(
        self,
        arm: XsArm,
        commands: tuple[str, ...],
        keyboard: Keyboard,
        *,
        script: Path | None = None,
    ) -> None:
        self._arm, self._keyboard = arm, keyboard
        self.commands = commands
        self._script = [] if script is None else load_script(script)
        self._task = ""
        self._verdict: int | None = None

    def reset(self, rng: np.random.Generator, task: str, split: Split) -> None:
        """Have things put back, by the script or by hand; the arm is out of the way meanwhile.

        Raises:
            KeyboardInterrupt: The operator wants to end.
        """
        self._arm.retreat()
        if self._script:
            self._arm.go_through(self._script)
        else:
            answer = self._keyboard.ask(
                f"Next: {task!r}. Put everything back and your hands away, then press Enter (q to end).\n"
                f"During the episode: {KEYS}."
            )
            if answer.lower() == QUIT:
                raise KeyboardInterrupt
        self._keyboard.pressed()  # what was pressed before belongs to no episode
        self._task, self._verdict = task, None

    def observe(self) -> None:
        """Look at the keyboard, without waiting.

        Raises:
            ArmFault: The operator stopped the episode, or says that it is spoiled; the arm holds.
            KeyboardInterrupt: The operator wants to end.
        """
        for key in self._keyboard.pressed():
            if key == QUIT:
                raise KeyboardInterrupt
            if key in (SPOILED, STOP):
                self._arm.hold()
                what = "stopped it" if key == STOP else "says that it is spoiled"
                raise ArmFault(f"Expected an undisturbed episode, but the operator {what}.")
            self._verdict = LEVELS.get(key, self._verdict)

    def level(self, task: str) -> int:
        """What the operator said of this episode: 5 or 1.

        Raises:
            NoTruth: Nothing, or about another command.
        """
        if self._verdict is None or task != self._task:
            raise NoTruth("Expected the operator's verdict, got none: press s or f.")
        return self._verdict

    def askable(self, task: str) -> bool:
        """Whether it is a command of this table."""
        return task in self.commands

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
            f"Expected a JSON list of joints and gripper in {path}, got {type(error).__name__}: {error}."
        ) from error
    if not poses or any(joints.shape != (len(ARM_JOINTS),) for joints, _ in poses):
        raise UnreachablePose(f"Expected poses of {len(ARM_JOINTS)} joints in {path}, got {poses}.")
    return poses
