"""How a client over ROS 2 ends, how the next one goes on, and whose arm it is; each test has a driver of its own."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.ros_driver import PATIENCE_S, ROOT, need_ros, running_driver, until

need_ros()
pytestmark = pytest.mark.ros

import rclpy  # noqa: E402
from rclpy.node import Node  # noqa: E402
from roboreward_sim_msgs.srv import ResetScene  # noqa: E402

from robots.conventions import NEUTRAL_JOINTS  # noqa: E402
from robots.errors import MotionRefused  # noqa: E402
from robots.ros.node import DriverClient  # noqa: E402
from robots.ros.simulator.time import simulated_time_arm  # noqa: E402
from robots.xs.interface import RESET_SERVICE, SLEEP_JOINTS  # noqa: E402

CLIENT = """
import numpy as np
from robots.signals import end_on_signals
from robots.ros.simulator.time import simulated_time_arm
from robots.conventions import NEUTRAL_JOINTS
end_on_signals()
arm = simulated_time_arm()
arm.reset(NEUTRAL_JOINTS, 1.0)
i = 0
while True:
    arm.move(NEUTRAL_JOINTS + np.array([0.3 * np.sin(0.4 * i), 0, 0, 0, 0, 0]), 1.0)
    print(i, flush=True)
    i += 1
"""


REAL = """
import sys
from robots.ros.simulator import driver

create = driver.SimulatedDriver.create_service

def create_service(self, service, name, *rest, **options):
    if not name.startswith("/simulation/"):
        return create(self, service, name, *rest, **options)

driver.SimulatedDriver.create_service = create_service
sys.exit(driver.main(sys.argv[1:]))
"""
"""A driver without the services of a simulation, as a real one."""


def test_a_driver_without_the_services_of_a_simulation_is_that_of_a_real_arm() -> None:
    rclpy.init()
    somebody = Node("somebody")  # a simulation elsewhere does not make this arm one
    somebody.create_service(ResetScene, RESET_SERVICE, lambda _, response: response)
    with running_driver("--scene", "toy", program=("-c", REAL)):
        arm = simulated_time_arm()
        with pytest.raises(MotionRefused, match="--i-am-watching"):
            arm.reset(NEUTRAL_JOINTS, 1.0)
        arm.close()
    somebody.destroy_node()
    rclpy.try_shutdown()


def test_importing_and_constructing_join_no_network() -> None:
    code = (
        "import rclpy, robots.ros.ros_arm\n"
        "arm = robots.ros.ros_arm.RosArm()\n"
        "assert not rclpy.ok()\n"
        "arm.close()\n"
        "assert not rclpy.ok()\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=PATIENCE_S)


def test_by_the_clock_of_the_world_stamps_are_dates() -> None:
    began = time.time()
    with running_driver("--camera-hz", "0", simulated_clock=False):
        rclpy.init()
        node = Node("client")
        client = DriverClient(node, "wx250s", timeout_s=PATIENCE_S)
        stamp = until(lambda: client.newest, "joint states").header.stamp
        client.close()
        node.destroy_node()
        rclpy.try_shutdown()
    assert began < stamp.sec + stamp.nanosec * 1e-9 < time.time()


def test_after_the_death_of_a_driver_the_next_reset_goes_on_with_a_new_one() -> None:
    arm = simulated_time_arm()
    with running_driver("--scene", "toy") as driver:
        arm.reset(NEUTRAL_JOINTS, 1.0)
        arm.move(NEUTRAL_JOINTS, 1.0)
        driver.process.kill()
        driver.wait()
    with running_driver("--scene", "toy"):
        arm.reset(NEUTRAL_JOINTS, 1.0)  # the new arm lay in its sleep pose
        arm.move(NEUTRAL_JOINTS, 1.0)
        np.testing.assert_allclose(arm.read().joints, NEUTRAL_JOINTS, atol=0.05)
        arm.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_client_that_never_closes_goes_to_sleep_and_after_a_kill_the_next_one_recovers(
    number: int,
) -> None:
    with running_driver("--scene", "toy"):
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert client.stdout is not None
        assert any(int(line) >= 3 for line in client.stdout)  # it moves
        client.send_signal(number)
        assert client.wait(PATIENCE_S) != 0
        client.stdout.close()
        killed = number == signal.SIGKILL
        arm = simulated_time_arm()
        arm.link.open(PATIENCE_S)
        until(lambda: arm.joints.newest, "joint states")
        assert arm.joints.newest is not None
        asleep = np.abs(arm.joints.newest.arm - SLEEP_JOINTS).max() < 0.1
        assert asleep != killed
        assert arm.link.registers("group", "all", "Torque_Enable") == [int(killed)] * 7
        arm.reset(NEUTRAL_JOINTS, 1.0)
        np.testing.assert_allclose(arm.read().joints, NEUTRAL_JOINTS, atol=0.05)
        arm.close()
