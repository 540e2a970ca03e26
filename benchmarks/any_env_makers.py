"""Environments by others, made with a time limit inside: what the cases of `benchmarks.any_env_cases` try."""

import importlib
import os
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

STEPS = 10
"""Time limit of the episodes: enough to see frames change."""


def single(env_id: str, module: str = "", **options: Any) -> Callable[[], Any]:
    """Make an id that a module registers when it is imported."""

    def make() -> gym.Env[Any, Any]:
        if module:
            imported = importlib.import_module(module)
            gym.register_envs(imported)
        settings: dict[str, Any] = {"render_mode": "rgb_array", "max_episode_steps": STEPS}
        return gym.make(env_id, **settings | options)

    return make


def babyai_vector() -> Any:
    """Processes, whose missions `FrameCapture` reads."""
    from roboreward_gym import FrameCapture

    importlib.import_module("minigrid")
    return gym.make_vec(
        "BabyAI-GoToRedBall-v0",
        num_envs=2,
        vectorization_mode="async",
        vector_kwargs={"shared_memory": False},
        render_mode="rgb_array",
        max_episode_steps=STEPS,
        wrappers=[FrameCapture],
    )


def metaworld_vector(**options: Any) -> Callable[[], Any]:
    """Ten tasks in one vector, made by MetaWorld's own function."""

    def make() -> Any:
        importlib.import_module("metaworld")
        settings: dict[str, Any] = {"render_mode": "rgb_array", "camera_name": "corner2", "seed": 1}
        return gym.make_vec(
            "Meta-World/MT10",
            vector_strategy="sync",
            max_episode_steps=STEPS,
            **settings,
            **options,
        )

    return make


def upright(env: Any, observation: Any) -> np.ndarray:
    """MetaWorld's picture, turned by 180 degrees."""
    return env.render()[::-1, ::-1]


def upright_vector(envs: Any, observations: Any) -> np.ndarray:
    """The same of a vector."""
    return np.stack(envs.render())[:, ::-1, ::-1]


def envpool(name: str, **options: Any) -> Callable[[], Any]:
    """Several environments of EnvPool in one."""

    def make() -> Any:
        pool: Any = importlib.import_module("envpool")
        return pool.make(name, env_type="gymnasium", num_envs=3, max_episode_steps=STEPS, **options)

    return make


def pistonball() -> Any:
    """Eight agents of PettingZoo in two copies, as one vector by SuperSuit."""
    supersuit: Any = importlib.import_module("supersuit")
    game: Any = importlib.import_module("pettingzoo.butterfly.pistonball_v6")
    parallel = game.parallel_env(render_mode="rgb_array", max_cycles=STEPS, n_pistons=8)
    return supersuit.concat_vec_envs_v1(supersuit.pettingzoo_env_to_vec_env_v1(parallel), 2)


def robosuite(**options: Any) -> Callable[[], Any]:
    """Robosuite's arm in its own wrapper for Gymnasium."""

    def make() -> Any:
        suite: Any = importlib.import_module("robosuite")
        wrappers: Any = importlib.import_module("robosuite.wrappers")
        arm = suite.make(
            "Lift",
            robots="Panda",
            has_renderer=False,
            has_offscreen_renderer=True,
            use_camera_obs=True,
            camera_names=["agentview", "frontview"],
            horizon=STEPS,
        )
        return wrappers.GymWrapper(arm, **options)

    return make


def multi_objective(*, scalar: bool) -> Callable[[], Any]:
    """MO-Gymnasium's vector of rewards, as it is or weighted."""

    def make() -> Any:
        library: Any = importlib.import_module("mo_gymnasium")
        env = library.make("mo-lunar-lander-v3", render_mode="rgb_array", max_episode_steps=STEPS)
        return library.wrappers.LinearReward(env) if scalar else env

    return make


def miniworld() -> Any:
    """MiniWorld without a window."""
    pyglet: Any = importlib.import_module("pyglet")
    pyglet.options["headless"] = True
    return single("MiniWorld-Hallway-v0", "miniworld")()


def highway() -> Any:
    """highway-env, which draws nothing where the driver is named `dummy`, but needs no screen."""
    os.environ.pop("SDL_VIDEODRIVER", None)
    return single("highway-v0", "highway_env")()


def pixels(env_id: str) -> Callable[[], Any]:
    """A picture in the observation, with channels first."""

    def make() -> Any:
        env = gym.wrappers.AddRenderObservation(single(env_id)(), render_only=True)
        space = gym.spaces.Box(0, 255, (3, 400, 600), np.uint8)
        return gym.wrappers.TransformObservation(env, lambda o: np.moveaxis(o, -1, 0), space)

    return make
