"""How a client over ROS 2 ends, and how the next one goes on; each test has a driver of its own."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.ros_driver import PATIENCE_S, ROOT, need_ros, running_driver, until

need_ros()
pytestmark = pytest.mark.ros

from robots.interbotix.interface import SLEEP_JOINTS  # noqa: E402
from robots.layout import NEUTRAL_JOINTS  # noqa: E402
from robots.ros_arm import RosArm, RosConfig  # noqa: E402

SIMULATED = RosConfig(simulated_clock=True)
CLIENT = """
import signal, numpy as np
from robots.ros_arm import RosArm, RosConfig
from robots.layout import NEUTRAL_JOINTS
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.default_int_handler)
arm = RosArm(RosConfig(simulated_clock=True))
arm.reset(NEUTRAL_JOINTS, 1.0)
i = 0
while True:
    arm.move(NEUTRAL_JOINTS + np.array([0.3 * np.sin(0.4 * i), 0, 0, 0, 0, 0]), 1.0)
    print(i, flush=True)
    i += 1
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
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
        arm = RosArm(SIMULATED)
        arm.link.open(PATIENCE_S)
        until(lambda: arm.joints.newest, "joint states")
        assert arm.joints.newest is not None
        asleep = np.abs(arm.joints.newest.arm - SLEEP_JOINTS).max() < 0.1
        assert asleep != killed
        assert arm.link.registers("Torque_Enable") == [int(killed)] * 6
        arm.reset(NEUTRAL_JOINTS, 1.0)
        np.testing.assert_allclose(arm.read().joints, NEUTRAL_JOINTS, atol=0.05)
        arm.close()
