"""Why the same start ends otherwise over ROS 2: the driver's differences one by one, in process and without ROS.

    python -m benchmarks.ros_parity_causes --there FOLDER

`FOLDER` holds the episodes over ROS 2 of `python -m benchmarks.ros_parity --folder FOLDER`. Each condition plays the same starts
with one more of the driver's differences. Prints, and adds to `benchmarks/results/ros_parity.json` under "causes", on how many
starts it ends as in process and as over ROS, and how far its hand is from theirs.
"""

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro
from tqdm import tqdm

from benchmarks.ros_parity import HERE, OUT, STEPS, THERE, by_seed
from experiments.config import evaluation_seeds, get_config
from experiments.evaluate import EpisodeRunner, PolicySpec
from experiments.run_folder import read_lines, write_json, write_lines
from experiments.workers import prepare
from roboreward_gym.episode import Episode
from robots.arm import ArmReading
from robots.catalogue import task_entry
from robots.conventions import ARM_JOINTS, CONTROL_HZ, finger_from_gripper, gripper_from_finger
from robots.environments.simulated import IMAGE_SIZE
from robots.recording import RecordEpisodes
from robots.ros.simulator.robot import SimulatedRobot
from robots.sim.mujoco_arm import RAMP_FRACTION
from robots.widowx import WidowXEnv
from robots.xs.gripper_linkage import angle_from_finger
from robots.xs.images import fit_4_3
from robots.xs.interface import CAMERA_SIZE, GRIPPER, GRIPPER_MODE
from robots.xs.servos import GRIPPER_CURRENT, PROFILE

PERIOD_S = 1.0 / CONTROL_HZ
RAMP_OF_THE_PROCESS = {
    "Profile_Velocity": round(1000 * RAMP_FRACTION * PERIOD_S),
    "Profile_Acceleration": 0,
}
"""The driver's registers [ms] that make its servos follow as `MujocoArm` does: a straight ramp."""


@dataclass(frozen=True)
class Condition:
    """What is as it is over ROS 2, beside the driver's servos and their bounded torques, the gripper's too.

    Attributes:
        profile: The arm's servos follow set-points by the trapezoid that the client asks for.
        late_s: Set-points begin to act so long after the observation [s].
        image_age_s: Age of the image when it is looked at [s].
        camera_size: Images are drawn in the size of the driver's camera, and scaled.
    """

    profile: bool = False
    late_s: float = 0.0
    image_age_s: float = 0.0
    camera_size: bool = False


LATE_S, AGE_S = 0.05, 0.05
"""At most: the simulated clock lets the driver run ahead of a client by 0.05 s; its camera draws 15 images a second."""
CONDITIONS: Mapping[str, Condition] = {
    "driver's servos": Condition(),
    "driver's servos, large image": Condition(camera_size=True),
    "driver's servos, old image": Condition(image_age_s=AGE_S),
    "driver's servos, late set-points": Condition(late_s=LATE_S),
    "driver's servos, profile": Condition(profile=True),
    "all of it": Condition(profile=True, late_s=LATE_S, image_age_s=AGE_S, camera_size=True),
}  # fmt: skip


class DriverArm:
    """An `Arm` on the simulated driver's robot, without ROS and with the differences of a condition."""

    def __init__(self, robot: SimulatedRobot, condition: Condition) -> None:
        self.image_size = IMAGE_SIZE
        self._robot, self._condition = robot, condition
        self._image: np.ndarray | None = None
        self._waiting: tuple[np.ndarray, float] | None = None
        robot.set_mode((GRIPPER,), GRIPPER_MODE, "time", 0, 0)
        for register, value in GRIPPER_CURRENT.items():
            robot.set_register((GRIPPER,), register, value)
        for register, value in (PROFILE if condition.profile else RAMP_OF_THE_PROCESS).items():
            robot.set_register(ARM_JOINTS, register, value)

    def reset(self, joints: np.ndarray, gripper: float) -> None:
        """Put the arm at its start, at rest."""
        self._robot.arm.reset(joints, gripper)
        for enable in (False, True):  # torque on makes the present position the target
            self._robot.set_torque((*ARM_JOINTS, GRIPPER), enable=enable)
        self._image, self._waiting = None, (joints, gripper)

    def read(self) -> ArmReading:
        """Joints and gripper opening as simulated."""
        data = self._robot.arm.data
        return ArmReading(data.qpos[:6].copy(), gripper_from_finger(data.qpos[6]))

    def move(self, joints: np.ndarray, gripper: float) -> None:
        """Simulate one control period; the last set-point acts until this one does."""
        late, age = self._condition.late_s, self._condition.image_age_s
        self._robot.advance(late)
        self._robot.command((*ARM_JOINTS, GRIPPER), [*joints, _angle(gripper)])
        self._robot.advance(PERIOD_S - late - age)
        self._image = self._draw()
        self._robot.advance(age)

    def hold(self) -> None:
        """Nothing to do: simulated time stands still between moves."""

    def camera(self) -> np.ndarray:
        """`(H, W, 3)` uint8 RGB, as old as the condition says."""
        if self._image is None:
            self._image = self._draw()
        return self._image

    def close(self) -> None:
        """Free the renderer."""
        self._robot.arm.close()

    def _draw(self) -> np.ndarray:
        return fit_4_3(self._robot.arm.camera(), self.image_size)


def _angle(gripper: float) -> float:
    return angle_from_finger(finger_from_gripper(gripper))


def make(task: str, condition: Condition, **kwargs: Any) -> WidowXEnv:
    """The environment of a task on the driver's robot."""
    entry = task_entry(task)
    size = CAMERA_SIZE if condition.camera_size else IMAGE_SIZE
    robot = SimulatedRobot(entry.scene, image_size=size)
    return WidowXEnv(DriverArm(robot, condition), robot.scene, entry.task, **kwargs)


@dataclass(frozen=True)
class Args:
    """Play each condition, and compare."""

    there: Path
    """Folder of `benchmarks.ros_parity`."""
    task: str = "toy-on-towel"
    """The task that was played there."""
    episodes: int = 60
    """Starts of each condition."""
    out: Path = OUT
    """JSON file to add to."""


def play(args: Args, name: str, condition: Condition) -> Path:
    """Play the starts of one condition; those that are played already are left out."""
    folder = args.there / "causes" / name.replace(" ", "-").replace(",", "").replace("'", "")
    config, entry = get_config(f"{args.task}-nano"), task_entry(args.task)
    env_id = f"{folder.name.title().replace('-', '')}-v0"
    gym.register(
        env_id, partial(make, args.task, condition), max_episode_steps=entry.max_episode_steps
    )
    done = read_lines(folder / "outcomes.jsonl") if (folder / "outcomes.jsonl").exists() else []
    seeds = evaluation_seeds(config.seed, args.episodes)[len(done) :]
    if not seeds:
        return folder
    record = partial(RecordEpisodes, folder=folder)
    with closing(EpisodeRunner(PolicySpec(env_id, config.policy), record)) as runner:
        for seed in tqdm(seeds, desc=name):
            outcome = runner.play(seed)
            done.append({"seed": seed, "success": outcome.success})
            write_lines(folder / "outcomes.jsonl", done)
    return folder


def outcomes(file: Path) -> dict[int, bool]:
    """Success by seed."""
    return {line["seed"]: line["success"] for line in read_lines(file)}


def alike(first: dict[int, bool], second: dict[int, bool]) -> int:
    """On how many starts of both two conditions end alike."""
    return sum(first[seed] == second[seed] for seed in first.keys() & second.keys())


def apart(first: Path, second: Path) -> dict[str, float]:
    """Distance of the hands after some steps, median over the starts [mm]."""
    a, b = by_seed(first), by_seed(second)
    ways = [
        np.linalg.norm(Episode.load(a[seed]).states[:, :3] - Episode.load(b[seed]).states[:, :3], axis=1)
        for seed in a.keys() & b.keys()
    ]  # fmt: skip
    steps = [step for step in STEPS if step < min(map(len, ways))]
    return {str(step): round(1e3 * float(np.median([w[step] for w in ways])), 1) for step in steps}


def main(args: Args) -> None:
    """Play, compare, write."""
    prepare(threads=1)
    folders = {name: play(args, name, condition) for name, condition in CONDITIONS.items()}
    ends = {name: outcomes(folder / "outcomes.jsonl") for name, folder in folders.items()}
    ros, here = outcomes(args.there / THERE), outcomes(args.there / HERE)
    causes = {
        name: {
            "successes": sum(ends[name].values()),
            "ends_as_in_process": alike(ends[name], here),
            "ends_as_over_ros": alike(ends[name], ros),
            "hand_from_in_process_mm_after": apart(folders[name], args.there / "here"),
            "hand_from_ros_mm_after": apart(folders[name], args.there / "episodes"),
        }
        for name in CONDITIONS
    }
    record = json.loads(args.out.read_text())
    write_json(args.out, {**record, "causes": {"starts": len(here), **causes}})
    print(json.dumps(causes, indent=1))


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
