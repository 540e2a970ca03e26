"""Environments by others, each with what a user has to pass for it: the cases of `benchmarks.any_env`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.any_env_makers import (
    babyai_vector,
    envpool,
    highway,
    metaworld_vector,
    miniworld,
    multi_objective,
    pistonball,
    pixels,
    robosuite,
    single,
    upright,
    upright_vector,
)

Settings = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        env: What is made, in the table's words.
        package: The distribution that it comes from.
        make: Makes it, with a time limit inside.
        settings: What the wrapper gets beside the environment and the reward model.
        needs: What of that a reader would not guess, in Markdown.
        expected: `works`, `warned` (it does, with a warning that is meant), or `refused`.
        says: Text that the warning or the refusal must hold.
    """

    env: str
    package: str
    make: Callable[[], Any]
    settings: Settings = field(default_factory=dict)
    needs: str = ""
    expected: str = "works"
    says: str = ""


def task(text: str, **more: Any) -> Settings:
    """Settings of an environment that does not tell its task."""
    return {"task": text, **more}


LIFT = {"flatten_obs": False, "keys": ["agentview_image", "frontview_image"]}
NEXT_STEP = gym.vector.AutoresetMode.NEXT_STEP
TURNED = "`frame_source=` a function that turns the picture: its cameras are upside down"

CASES = [
    Case("CartPole-v1", "gymnasium", single("CartPole-v1"), task("balance the pole")),
    Case(
        "CartPole-v1, channels first",
        "gymnasium",
        pixels("CartPole-v1"),
        task("balance the pole", frame_source="observation"),
        "`frame_source='observation'`",
    ),
    Case(
        "CartPole-v1, `rgb_array_list`",
        "gymnasium",
        single("CartPole-v1", render_mode="rgb_array_list"),
        task("balance the pole"),
    ),
    Case("LunarLander-v3", "gymnasium", single("LunarLander-v3"), task("land softly")),
    Case("CarRacing-v3", "gymnasium", single("CarRacing-v3"), task("stay on the road")),
    Case("Taxi-v4", "gymnasium", single("Taxi-v4"), task("bring the passenger to the hotel")),
    Case("Hopper-v5", "gymnasium", single("Hopper-v5"), task("hop forward")),
    Case("Pusher-v5", "gymnasium", single("Pusher-v5"), task("push the cylinder to the goal")),
    Case(
        "ALE/Pong-v5",
        "ale-py",
        single("ALE/Pong-v5", "ale_py"),
        task("win a rally", fps=15),
        "`fps=15`: it skips 3 of 4 frames, which `render_fps` does not say",
    ),
    Case("MiniGrid-Empty-5x5-v0", "minigrid", single("MiniGrid-Empty-5x5-v0", "minigrid")),
    Case("BabyAI-GoToRedBall-v0", "minigrid", single("BabyAI-GoToRedBall-v0", "minigrid")),
    Case(
        "BabyAI-GoToRedBall-v0, processes",
        "minigrid",
        babyai_vector,
        {},
        "`FrameCapture` around each environment; Gymnasium needs `shared_memory=False` for its missions",
    ),
    Case(
        "gym_pusht/PushT-v0",
        "gym-pusht",
        single("gym_pusht/PushT-v0", "gym_pusht"),
        task("push the T onto the target"),
    ),
    Case(
        "gym_pusht/PushT-v0, pixels",
        "gym-pusht",
        single("gym_pusht/PushT-v0", "gym_pusht", obs_type="pixels"),
        task("push the T onto the target", frame_source="observation"),
        "`frame_source='observation'`",
    ),
    Case(
        "gym_aloha/AlohaTransferCube-v0",
        "gym-aloha",
        single("gym_aloha/AlohaTransferCube-v0", "gym_aloha"),
        {},
        "`task=` a sentence",
        "warned",
        "is no sentence",
    ),
    Case(
        "gym_hil/PandaPickCubeBase-v0, `render()`",
        "gym-hil",
        single("gym_hil/PandaPickCubeBase-v0", "gym_hil"),
        task("pick up the cube"),
        "`frame_source='render/0'`, as the message says",
        "refused",
        "render/0",
    ),
    Case(
        "gym_hil/PandaPickCubeBase-v0",
        "gym-hil",
        single("gym_hil/PandaPickCubeBase-v0", "gym_hil"),
        task("pick up the cube", frame_source=["render/0", "render/1"]),
        "`frame_source='render/0'`, or `['render/0', 'render/1']` for both cameras",
    ),
    Case(
        "FetchPickAndPlace-v4",
        "gymnasium-robotics",
        single("FetchPickAndPlace-v4", "gymnasium_robotics"),
        task("pick up the block"),
    ),
    Case(
        "FrankaKitchen-v1",
        "gymnasium-robotics",
        single("FrankaKitchen-v1", "gymnasium_robotics"),
        task("open the microwave"),
    ),
    Case(
        "AdroitHandDoor-v1",
        "gymnasium-robotics",
        single("AdroitHandDoor-v1", "gymnasium_robotics"),
        task("open the door"),
    ),
    Case(
        "PointMaze_UMaze-v3",
        "gymnasium-robotics",
        single("PointMaze_UMaze-v3", "gymnasium_robotics"),
        task("roll to the goal"),
    ),
    Case(
        "Meta-World/MT1, door-open-v3",
        "metaworld",
        single("Meta-World/MT1", "metaworld", env_name="door-open-v3", camera_name="corner2"),
        task("open the door", frame_source=upright),
        TURNED,
    ),
    Case(
        "Meta-World/MT10, same step",
        "metaworld",
        metaworld_vector(),
        task("do the task"),
        "`autoreset_mode=NEXT_STEP`, as the message says",
        "refused",
        "autoreset_mode=gymnasium.vector.AutoresetMode.NEXT_STEP",
    ),
    Case(
        "Meta-World/MT10, next step",
        "metaworld",
        metaworld_vector(autoreset_mode=NEXT_STEP),
        task("do the task", frame_source=upright_vector),
        f"`task=` one for each environment; {TURNED}",
    ),
    Case(
        "robosuite Lift in `GymWrapper`",
        "robosuite",
        robosuite(),
        task("lift the cube", fps=20),
        "an observation key, as the message says",
        "refused",
        "frame_source= an observation key",
    ),
    Case(
        "robosuite Lift, two cameras",
        "robosuite",
        robosuite(**LIFT),
        task("lift the cube", fps=20, frame_source=["agentview_image", "frontview_image"]),
        "`GymWrapper(..., flatten_obs=False, keys=[...])`, `fps=20`, `frame_source=` the keys of the cameras",
    ),
    Case(
        "dm_control/reacher-easy-v0 by shimmy",
        "dm-control",
        single("dm_control/reacher-easy-v0", "shimmy"),
        {},
        "`task=`, as the message says: its own is an object",
        "refused",
        "Pass task=",
    ),
    Case(
        "dm_control/CmuHumanoidRunWalls-v0 by shimmy",
        "dm-control",
        single("dm_control/CmuHumanoidRunWalls-v0", "shimmy"),
        task("run along the corridor", frame_source="walker/egocentric_camera"),
        "`frame_source='walker/egocentric_camera'` for the robot's own view",
    ),
    Case(
        "highway-v0, `SDL_VIDEODRIVER=dummy`",
        "highway-env",
        single("highway-v0", "highway_env"),
        task("drive fast without a crash"),
        "`SDL_VIDEODRIVER` unset: with `dummy` it draws nothing",
        "warned",
        "shows nothing",
    ),
    Case(
        "highway-v0",
        "highway-env",
        highway,
        task("drive fast without a crash"),
        "`SDL_VIDEODRIVER` unset",
    ),
    Case("MiniWorld-Hallway-v0", "miniworld", miniworld, task("go to the red box")),
    Case(
        "VizdoomBasic-v1",
        "vizdoom",
        single("VizdoomBasic-v1", "vizdoom.gymnasium_wrapper"),
        task("shoot the monster"),
    ),
    Case(
        "mo-lunar-lander-v3",
        "mo-gymnasium",
        multi_objective(scalar=False),
        task("land softly"),
        "`LinearReward` inside, as the message says",
        "refused",
        "wrapper inside",
    ),
    Case(
        "mo-lunar-lander-v3 in `LinearReward`",
        "mo-gymnasium",
        multi_objective(scalar=True),
        task("land softly"),
    ),
    Case(
        "EnvPool CartPole-v1, `render()`",
        "envpool",
        envpool("CartPole-v1", render_mode="rgb_array"),
        task("balance the pole", fps=50),
        "a function, as the message says: its `render()` shows the first environment only",
        "refused",
        "a function of the vector environment",
    ),
    Case(
        "EnvPool CartPole-v1",
        "envpool",
        envpool("CartPole-v1", render_mode="rgb_array"),
        task(
            "balance the pole",
            fps=50,
            frame_source=lambda envs, _: envs.render(env_ids=np.arange(envs.num_envs)),
        ),
        "`fps=`, `frame_source=lambda envs, _: envs.render(env_ids=np.arange(envs.num_envs))`",
    ),
    Case(
        "EnvPool Pong-v5, pixels",
        "envpool",
        envpool("Pong-v5", gray_scale=False, stack_num=1),
        task("win a rally", fps=15, frame_source="observation"),
        "`gray_scale=False, stack_num=1`, `fps=15`, `frame_source='observation'`",
    ),
    Case(
        "PettingZoo pistonball_v6 by SuperSuit",
        "SuperSuit",
        pistonball,
        task("move the ball to the left", fps=20, frame_source="observation"),
        "`frame_source='observation'`: it resets in the same step",
    ),
    Case(
        "PettingZoo pistonball_v6 by SuperSuit, `render()`",
        "SuperSuit",
        pistonball,
        task("move the ball to the left", fps=20),
        "an observation key, as the message says",
        "refused",
        "an observation key",
    ),
]
