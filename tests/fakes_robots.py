"""Fakes of the robot side: an arm that reaches every target at once, and an empty table."""

import numpy as np

from robots.arm import ArmReading
from robots.conventions import LANDMARKS


class FakeArm:
    """Reaches every target at once; its camera shows how often it moved."""

    image_size = (96, 128)

    def __init__(self) -> None:
        self.moves = self.resets = self.holds = 0
        self.reading = ArmReading(np.zeros(6), 1.0)
        self.frame: np.ndarray | None = None

    def reset(self, joints: np.ndarray, gripper: float) -> None:
        self.moves = 0
        self.resets += 1
        self.reading = ArmReading(joints.copy(), gripper)

    def read(self) -> ArmReading:
        return self.reading

    def move(self, joints: np.ndarray, gripper: float) -> None:
        self.moves += 1
        self.reading = ArmReading(joints.copy(), gripper)

    def hold(self) -> None:
        self.holds += 1

    def camera(self) -> np.ndarray:
        if self.frame is not None:
            return self.frame
        return np.full((*self.image_size, 3), self.moves, np.uint8)

    def close(self) -> None:
        pass


class EmptyScene:
    """A table with nothing on it."""

    tasks = ("wave",)

    def __init__(self) -> None:
        self.resets = 0

    def reset(self, rng: np.random.Generator, task: str, split: str) -> None:
        self.resets += 1

    def observe(self) -> None:
        pass

    def level(self, task: str) -> int:
        return 1

    def askable(self, task: str) -> bool:
        return True

    def caption(self) -> str:
        return "an empty table"

    def movable(self) -> tuple[np.ndarray, ...]:
        return ()

    def landmarks(self) -> np.ndarray:
        return np.zeros((len(LANDMARKS), 4), np.float32)
