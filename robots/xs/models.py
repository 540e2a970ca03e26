"""Arms of the vendor's whose geometry we know exactly, as their drivers name their servos."""

from dataclasses import dataclass

from roboreward_gym.errors import UnknownName
from robots.conventions import ARM_JOINTS
from robots.xs.interface import FINGERS, GRIPPER, MOTOR_IDS, SHADOWS


@dataclass(frozen=True)
class ArmModel:
    """An arm with a gripper.

    Attributes:
        joints: Joints of the group `arm`.
        ids: Bus ids of the servos of `motors`.
    """

    joints: tuple[str, ...]
    ids: tuple[int, ...]

    @property
    def motors(self) -> tuple[str, ...]:
        """Servos that lead a joint: the group `all`."""
        return (*self.joints, GRIPPER)

    @property
    def servos(self) -> tuple[str, ...]:
        """Every servo; the shadows can be named singly."""
        return (*self.motors, *SHADOWS)

    @property
    def state_joints(self) -> tuple[str, ...]:
        """Order of `joint_states`."""
        return (*self.motors, *FINGERS)

    def motor_id(self, motor: str) -> int:
        """The address of a servo on the bus."""
        return self.ids[self.motors.index(motor)]

    @property
    def fixed(self) -> tuple[str, ...]:
        """Joints of the WidowX 250S that this arm has not got; they stay at zero."""
        return tuple(joint for joint in ARM_JOINTS if joint not in self.joints)


MODELS = {
    "wx250s": ArmModel(ARM_JOINTS, tuple(MOTOR_IDS.values())),
    # The same lengths and limits without the roll of the forearm; the servos behind it move up.
    "wx250": ArmModel(
        tuple(joint for joint in ARM_JOINTS if joint != "forearm_roll"), (1, 2, 4, 6, 7, 8)
    ),
}


def arm_model(name: str) -> ArmModel:
    """The arm of that name.

    Raises:
        UnknownName: An arm of other lengths; a simulation of it would be a lie.
    """
    if name not in MODELS:
        raise UnknownName("arm model", name, MODELS)
    return MODELS[name]
