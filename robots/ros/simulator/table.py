"""The scene under a simulated driver, asked over ROS: shuffled at a reset, and its truth for reports only."""

from typing import Any

import numpy as np
from roboreward_sim_msgs.srv import GetTruth, ResetScene

from robots.catalogue import TaskEntry
from robots.conventions import LANDMARKS
from robots.errors import ArmUnavailable, NoTruth
from robots.ros.ros_arm import RosArm
from robots.scene import Scene, Split
from robots.sim.mujoco_arm import MujocoArm
from robots.xs.interface import RESET_SERVICE, TRUTH_SERVICE


class SimulatedTable:
    """A `Scene` on the other side of the network.

    Args:
        arm: Over the same driver.
        entry: Entry of the driver's scene.
    """

    def __init__(self, arm: RosArm, entry: TaskEntry) -> None:
        self._arm, self._entry = arm, entry
        self.tasks: tuple[str, ...] = entry.load_scene().tasks
        self._copy: Scene | None = None

    def reset(self, rng: np.random.Generator, task: str, split: Split) -> None:
        """Shuffle the scene as the environment in process does for the same seed.

        Raises:
            ArmUnavailable: There is no simulated driver, or one with another scene.
            MotionRefused: The driver is that of a real arm.
        """
        self._arm.rest()  # the arm is put to its start at once, which is not a motion to watch
        self._arm.connect()
        known = known_seed(rng)
        seed = int(rng.integers(2**31)) if known is None else known
        request = ResetScene.Request(task=task, seed=seed, look=split)
        try:
            answer = self._arm.link.call(ResetScene, RESET_SERVICE, request)
        except ArmUnavailable:
            self._arm.check_peers()  # a real arm has no such service, and says more
            raise
        if not answer.success:
            raise ArmUnavailable(
                f"The simulated driver has no scene for {task!r}: {answer.message} "
                "Start it with the other --scene."
            )
        if known is not None:
            self._draw_as_in_process(rng, task, split)

    def _draw_as_in_process(self, rng: np.random.Generator, task: str, split: Split) -> None:
        """Draw from the environment's generator what its scene draws in process: the arm's start is drawn after that."""
        if self._copy is None:
            self._copy = self._entry.load_scene()(MujocoArm(self._entry.scene))
        self._copy.reset(rng, task, split)

    def observe(self) -> None:
        """Nothing to do: the driver takes notes by itself."""

    def level(self, task: str) -> int:
        """True level of the state now.

        Raises:
            NoTruth: The driver does not answer.
        """
        return int(self._truth(task).level)

    def askable(self, task: str) -> bool:
        """Whether the task's goal was not already true at the start."""
        return bool(self._truth(task).askable)

    def caption(self) -> str:
        """The state in words."""
        return str(self._truth("").caption)

    def movable(self) -> tuple[np.ndarray, ...]:
        """Not known over the network."""
        return ()

    def landmarks(self) -> np.ndarray:
        """Not known over the network: all absent."""
        return np.zeros((len(LANDMARKS), 4), np.float32)

    def _truth(self, task: str) -> Any:
        try:
            answer = self._arm.link.call(GetTruth, TRUTH_SERVICE, GetTruth.Request(task=task))
        except ArmUnavailable as error:
            raise NoTruth(f"The simulation does not report its true state. {error}") from error
        if not answer.success:
            raise NoTruth(f"The simulation does not know {task!r}: {answer.message}")
        return answer


def known_seed(rng: np.random.Generator) -> int | None:
    """The seed that an environment's generator was made from, if nothing was drawn yet; None if it is not known."""
    sequence = rng.bit_generator.seed_seq
    assert isinstance(sequence, np.random.SeedSequence)
    fresh = np.random.PCG64(sequence).state == rng.bit_generator.state
    if fresh and isinstance(sequence.entropy, int) and sequence.entropy < 2**63:
        return sequence.entropy
    return None
