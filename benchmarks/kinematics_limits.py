"""Would mink's own velocity limit do instead of ours? How often ours acts, and how far each leaves the hand from its target.

    python -m benchmarks.kinematics_limits

Ours solves for the target and then bounds the change of each joint; mink's `VelocityLimit` bounds it inside of one step of
the solver, which does not reach the target in one step. Writes `benchmarks/results/kinematics_limits.json`.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import mink
import mujoco
import numpy as np

from robots.catalogue import TASKS
from robots.conventions import (
    ARM_JOINTS,
    CONTROL_HZ,
    JOINT_VELOCITY,
    MAX_STEP_M,
    MAX_STEP_RAD,
    NEUTRAL_JOINTS,
    rotated,
)
from robots.kinematics import ARM_XML, Kinematics
from robots.safety import SafetyLimits, safe_joints
from robots.sim.experts import ScriptedExpert
from robots.widowx import widowx

OUT = Path(__file__).parent / "results" / "kinematics_limits.json"
EPISODES, TARGETS = 15, 300


class OneStep:
    """One step of mink's solver with its own limits of positions and velocities."""

    def __init__(self, limits: SafetyLimits) -> None:
        self._model = mujoco.MjModel.from_xml_path(str(ARM_XML))
        self._configuration = mink.Configuration(self._model)
        self._task = mink.FrameTask(
            "ee", "site", position_cost=1.0, orientation_cost=0.3, lm_damping=1e-4
        )
        fastest = limits.velocity_fraction * JOINT_VELOCITY
        speeds = {joint: np.array([fastest]) for joint in ARM_JOINTS}
        self._limits = [
            mink.ConfigurationLimit(self._model),
            mink.VelocityLimit(self._model, speeds),
        ]

    def step(self, position: np.ndarray, rotation: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Joints `(6,)` [rad] after one control period towards a pose."""
        q = self._model.qpos0.copy()
        q[:6], q[6:8] = start, self._model.jnt_range[6:8].mean(axis=1)
        self._configuration.update(q)
        self._task.set_target(
            mink.SE3.from_rotation_and_translation(mink.SO3.from_matrix(rotation), position)
        )
        velocity = mink.solve_ik(
            self._configuration, [self._task], 1 / CONTROL_HZ, "daqp", damping=1e-6,
            limits=self._limits,
        )  # fmt: skip
        return start + velocity[:6] / CONTROL_HZ


def how_often(env_id: str, *, scripted: bool) -> dict[str, int]:
    """Steps of some episodes, and how many were clipped by our speed limit or held for want of joints."""
    env = gym.make(env_id, image=False)
    rng, counts = np.random.default_rng(0), {"steps": 0, "clipped": 0, "held": 0}
    for seed in range(EPISODES):
        env.reset(seed=seed)
        world = widowx(env)
        expert = ScriptedExpert(world, world.task, np.random.default_rng(seed))
        ended = False
        while not ended:
            action = expert.act() if scripted else rng.uniform(-1, 1, 7).astype(np.float32)
            *_, ended, info = env.step(action)
            counts["steps"] += 1
            counts["clipped"] += int(info["clipped"])
            counts["held"] += int(info["held"])
    env.close()
    return counts


def misses() -> dict[str, Any]:
    """Distance of the hand from random targets of one control period, with ours and with one step of mink [mm]."""
    limits, kinematics, rng = SafetyLimits(), Kinematics(), np.random.default_rng(1)
    other, joints = OneStep(limits), NEUTRAL_JOINTS.copy()
    found: dict[str, list[float]] = {"ours": [], "one_step_of_mink": []}
    spent = dict.fromkeys(found, 0.0)
    for _ in range(TARGETS):
        position, rotation = kinematics.forward(joints)
        target = np.clip(
            position + rng.uniform(-1, 1, 3) * MAX_STEP_M, limits.box_low, limits.box_high
        )
        turned = rotated(rotation, rng.uniform(-1, 1, 3) * MAX_STEP_RAD)
        begin = time.perf_counter()
        ours = safe_joints(kinematics.inverse(target, turned, joints), joints, limits)
        between = time.perf_counter()
        theirs = other.step(target, turned, joints)
        spent["ours"] += between - begin
        spent["one_step_of_mink"] += time.perf_counter() - between
        if ours is None:
            continue
        for name, q in (("ours", ours), ("one_step_of_mink", theirs)):
            found[name].append(1e3 * float(np.linalg.norm(kinematics.forward(q)[0] - target)))
        joints = ours
    return {
        name: {
            "median_mm": round(float(np.median(distances)), 3),
            "p95_mm": round(float(np.percentile(distances, 95)), 3),
            "ms": round(1e3 * spent[name] / TARGETS, 2),
        }
        for name, distances in found.items()
    }


def main() -> int:
    """Measure, write and print."""
    record = {
        "scripted": {entry.name: how_often(entry.env_id, scripted=True) for entry in TASKS},
        "random": {entry.name: how_often(entry.env_id, scripted=False) for entry in TASKS},
        "targets": TARGETS,
        "miss": misses(),
    }
    OUT.write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write(f"{json.dumps(record, indent=1)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
