"""Would mink's collision limit keep the arm off the table better than the raised target does? Violations and time of each.

    python -m benchmarks.kinematics_collision

Ours raises a target until the open fingers are above the table, solves, and holds where a step that is clipped to the joints' speed
would end in the table or outside of the box. mink's `CollisionAvoidanceLimit` bounds the steps
of the solver, for every part that moves: alone, or after ours. Random walks along the bottom of the workspace box, tilted.
Writes `benchmarks/results/kinematics_collision.json`.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import gymnasium as gym
import mink
import mujoco
import numpy as np

from robots import safety
from robots.conventions import ACTION_DIM
from robots.kinematics import ARM_XML, Kinematics
from robots.safety import SafetyLimits
from robots.sim.mujoco_arm import MujocoArm
from robots.widowx import widowx

OUT = Path(__file__).parent / "results" / "kinematics_collision.json"
WALKS, STEPS = 15, 40
ENV_ID = "robots:WidowXToyOnTowel-v0"
TABLE = "table"
BASE, SHOULDER = "base_link", "shoulder_link"
OPEN_M = 0.037
FAR_M = 0.2


class OverTable(Kinematics):
    """Our inverse kinematics with open fingers; mink's limit keeps moving parts off the table, the hand off the base."""

    def __init__(self, *, table: bool = False, base: bool = False) -> None:
        super().__init__()
        self.times: list[float] = []
        self.unsolved = 0
        spec = mujoco.MjSpec.from_file(str(ARM_XML))
        spec.worldbody.add_geom(name=TABLE, type=mujoco.mjtGeom.mjGEOM_PLANE, size=[1, 1, 0.1])
        self._model = model = spec.compile()
        self._configuration = mink.Configuration(model)
        self._site = model.site("ee").id
        self.moving = [
            geom
            for geom in range(model.ngeom)
            if model.body(model.geom_bodyid[geom]).name not in ("world", BASE, SHOULDER)
        ]
        self.hand = [
            g for g in self.moving if model.body(model.geom_bodyid[g]).name.endswith(("finger_link", "gripper_link"))
        ]  # fmt: skip
        self.post = [g for g in range(model.ngeom) if model.body(model.geom_bodyid[g]).name in (BASE, SHOULDER)]  # fmt: skip
        self._limits = [mink.ConfigurationLimit(model)]
        # The fingers are no joints of the arm: without this the solver would shut them to get off the table.
        self._constraints = [mink.DofFreezingTask(model, [6, 7])]
        pairs = [(self.moving, [model.geom(TABLE).id])] if table else []
        pairs += [(self.hand, self.post)] if base else []
        if pairs:
            limit = mink.CollisionAvoidanceLimit(
                model, pairs, minimum_distance_from_collisions=0.0,
                collision_detection_distance=0.03,
            )  # fmt: skip
            self._limits.append(limit)

    def _set(self, joints: np.ndarray) -> None:
        q = self._model.qpos0.copy()
        q[:6], q[6:8] = joints, (OPEN_M, -OPEN_M)
        self._configuration.update(q)

    def inverse(
        self, position: np.ndarray, rotation: np.ndarray, start: np.ndarray, *, iterations: int = 20
    ) -> np.ndarray | None:
        """As ours, timed; None if the limits contradict one another."""
        begin = time.process_time()
        try:
            return super().inverse(position, rotation, start, iterations=iterations)
        except mink.NoSolutionFound:
            self.unsolved += 1
            return None
        finally:
            self.times.append(time.process_time() - begin)

    def clearance(self, joints: np.ndarray) -> tuple[float, float]:
        """Least distance [m] of the moving parts from the table, and of the hand from base and shoulder."""
        self._set(joints)
        table = [self._model.geom(TABLE).id]
        return self._least(self.moving, table), self._least(self.hand, self.post)

    def _least(self, first: list[int], second: list[int]) -> float:
        data = self._configuration.data
        return min(
            mujoco.mj_geomDistance(self._model, data, a, b, FAR_M, None) for a in first for b in second
        )  # fmt: skip


def walk(kinematics: OverTable, measure: OverTable, *, raised: bool) -> dict[str, Any]:
    """Random walks in the environment with one solver; without `raised` its targets may have the fingers in the table."""
    limits = SafetyLimits() if raised else SafetyLimits(table_m=-1.0)
    world = widowx(gym.make(ENV_ID, image=False, limits=limits))
    world._kinematics = kinematics
    assert isinstance(world.arm, MujocoArm)
    data = world.arm.data
    heights, selves, counts = [], [], {"held": 0.0, "clipped": 0.0}
    for seed in range(WALKS):
        world.reset(seed=seed)
        rng = np.random.default_rng(seed)
        drift = _drift(rng)
        for _ in range(STEPS):
            before = data.ctrl[:6].copy()
            action = np.clip(drift + 0.7 * rng.normal(size=ACTION_DIM), -1, 1).astype(np.float32)
            info = world.step(action)[-1]
            for key in counts:
                counts[key] += info[key]
            if info["held"]:
                drift = _drift(rng)
            for fraction in (0.25, 0.5, 0.75, 1.0):
                way = before + fraction * (data.ctrl[:6] - before)
                table, body = measure.clearance(way)
                heights.append(table)
                selves.append(body)
    world.close()
    low = np.array(heights)
    return {
        "steps": WALKS * STEPS,
        **{key: int(count) for key, count in counts.items()},
        "solver_found_no_solution": kinematics.unsolved,
        "poses": len(low),
        "poses_over_5_mm_under_the_table": int((low < -5e-3).sum()),
        "poses_under_the_table": int((low < 0.0).sum()),
        "deepest_mm": round(1e3 * float(low.min()), 2),
        "hand_in_base_or_shoulder": int((np.array(selves) < 0.0).sum()),
        "cpu_ms_median": round(1e3 * float(np.median(kinematics.times)), 2),
        "cpu_ms_p95": round(1e3 * float(np.percentile(kinematics.times, 95)), 2),
    }


def _drift(rng: np.random.Generator) -> np.ndarray:
    """A direction to walk in, downwards."""
    drift = rng.uniform(-1, 1, ACTION_DIM)
    drift[2] = -0.5
    return drift


def main() -> int:
    """Measure, write and print."""
    measure = OverTable()
    with mock.patch.object(safety, "is_allowed", return_value=True):
        unchecked = walk(OverTable(), measure, raised=True)
    record = {
        "no_limit": walk(OverTable(), measure, raised=False),
        "ours": walk(OverTable(), measure, raised=True),
        "ours_without_the_check_of_clipped_steps": unchecked,
        "mink": walk(OverTable(table=True, base=True), measure, raised=False),
        "ours_and_mink": walk(OverTable(table=True, base=True), measure, raised=True),
        "ours_and_mink_for_the_base": walk(OverTable(base=True), measure, raised=True),
    }
    OUT.write_text(json.dumps(record, indent=1) + "\n")
    sys.stdout.write(f"{json.dumps(record, indent=1)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
