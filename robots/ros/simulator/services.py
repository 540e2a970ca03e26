"""The services of the XS driver, answered by the simulated robot."""

import time
from collections.abc import Callable
from typing import Any

from interbotix_xs_msgs.srv import (
    MotorGains,
    OperatingModes,
    Reboot,
    RegisterValues,
    RobotInfo,
    TorqueEnable,
)

from roboreward_gym.errors import RoboRewardError, UnknownName
from robots.conventions import (
    ARM_JOINTS,
    FINGER_CLOSED_M,
    FINGER_OPEN_M,
    JOINT_LOWER,
    JOINT_UPPER,
    JOINT_VELOCITY,
)
from robots.xs.gripper_linkage import finger_from_angle
from robots.xs.interface import (
    ARM_GROUP,
    GRIPPER,
    SHADOWS,
    SLEEP_JOINTS,
)

MODE_CHANGE_S = 0.15
"""How long the joints are without torque while a mode is written to the servos."""

REBOOT_S = 0.5


class XsServices:
    """Makes the services on the driver's node, below its namespace.

    Args:
        driver: The node, with `robot`, `lock` and `after`.
    """

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        for service, topic, answer in (
            (OperatingModes, "set_operating_modes", self._set_operating_modes),
            (TorqueEnable, "torque_enable", self._torque_enable),
            (RobotInfo, "get_robot_info", self._get_robot_info),
            (RegisterValues, "set_motor_registers", self._set_motor_registers),
            (RegisterValues, "get_motor_registers", self._get_motor_registers),
            (MotorGains, "set_motor_pid_gains", self._set_motor_pid_gains),
            (Reboot, "reboot_motors", self._reboot_motors),
        ):
            driver.create_service(service, topic, self._logged(answer))

    def _set_operating_modes(self, request: Any, response: Any) -> Any:
        with self._driver.lock:
            joints = self._driver.robot.motors(request.cmd_type, request.name)
            self._driver.robot.set_mode(
                joints,
                request.mode,
                request.profile_type,
                request.profile_velocity,
                request.profile_acceleration,
            )
            self._driver.robot.set_torque(joints, enable=False)
        # The arm falls a little meanwhile, as the real one does.
        self._driver.after(
            MODE_CHANGE_S, lambda: self._driver.robot.set_torque(joints, enable=True)
        )
        return response

    def _torque_enable(self, request: Any, response: Any) -> Any:
        with self._driver.lock:
            joints = self._driver.robot.motors(request.cmd_type, request.name)
            self._driver.robot.set_torque(joints, enable=request.enable)
        return response

    def _reboot_motors(self, request: Any, response: Any) -> Any:
        with self._driver.lock:
            joints = self._driver.robot.motors(request.cmd_type, request.name)
            restarted = self._driver.robot.reboot(joints, only_failed=request.smart_reboot)
        self._driver.after(
            REBOOT_S, lambda: self._driver.robot.set_torque(restarted, enable=request.enable)
        )
        return response

    def _set_motor_registers(self, request: Any, response: Any) -> Any:
        with self._driver.lock:
            joints = self._driver.robot.motors(request.cmd_type, request.name)
            self._driver.robot.set_register(joints, request.reg, request.value)
        return response

    def _get_motor_registers(self, request: Any, response: Any) -> Any:
        with self._driver.lock:
            joints = self._driver.robot.motors(request.cmd_type, request.name)
            silent = self._driver.silent_servo()
            if silent in joints:  # the vendor's stops there, and returns what it has
                joints = joints[: joints.index(silent)]
            response.values = self._driver.robot.registers(joints, request.reg)
        return response

    def _set_motor_pid_gains(self, request: Any, response: Any) -> Any:
        with self._driver.lock:
            joints = self._driver.robot.motors(request.cmd_type, request.name)
            self._driver.robot.set_gains(joints, request.kp_pos, request.ki_pos, request.kd_pos)
        return response

    def _get_robot_info(self, request: Any, response: Any) -> Any:
        model = self._driver.robot.model
        with self._driver.lock:
            joints = self._driver.robot.motors(request.cmd_type, request.name)
            if joints[0] in SHADOWS:
                raise UnknownName("joint", joints[0], model.motors)
            settings = self._driver.robot.servos[joints[0]].settings
        arm = [ARM_JOINTS.index(j) if j in ARM_JOINTS else None for j in joints]
        response.mode, response.profile_type = settings.mode, settings.profile
        # In place of the gripper the vendor's driver names its left finger.
        names = ["left_finger" if j == GRIPPER else j for j in joints]
        response.joint_names = names
        response.joint_ids = [model.motor_id(j) for j in joints]
        # The gripper's limits are those of the left finger, in [m] and [m/s].
        response.joint_lower_limits = [
            float(FINGER_CLOSED_M if i is None else JOINT_LOWER[i]) for i in arm
        ]
        response.joint_upper_limits = [
            float(FINGER_OPEN_M if i is None else JOINT_UPPER[i]) for i in arm
        ]
        response.joint_velocity_limits = [1.0 if i is None else float(JOINT_VELOCITY) for i in arm]
        response.joint_sleep_positions = [
            finger_from_angle(0.0) if i is None else float(SLEEP_JOINTS[i]) for i in arm
        ]
        response.joint_state_indices = [model.state_joints.index(name) for name in names]
        response.num_joints = len(joints)
        response.name = [ARM_GROUP, "all"] if request.name == "all" else [request.name]
        return response

    def _logged(self, answer: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """The vendor's services have no field for a failure: they log it and answer with nothing."""

        def service(request: Any, response: Any) -> Any:
            active, now = self._driver.faults.active, self._driver.robot.time
            late = active("late_services", now)
            if late is not None:
                # In wall time: nobody moves a simulated clock meanwhile.
                time.sleep(late.delay_s)
            if active("failed_services", now) is not None:
                return response
            try:
                return answer(request, response)
            except RoboRewardError as error:
                self._driver.get_logger().error(str(error))
                return response

        return service
