"""The plugin on environments that have nothing to do with robots or with this project."""

import os
import warnings
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from roboreward_gym import Clip, VLMRewardWrapper, registry
from tests.fakes import FakeRewardModel, play

MODEL = """
<mujoco><option timestep="0.02"/><worldbody>
  <light pos="0 0 3"/><camera name="side" pos="0 -2 0.5" xyaxes="1 0 0 0 0 1"/>
  <body pos="0 0 1"><freejoint/><geom name="ball" type="sphere" size="0.4" rgba="1 0 0 1"/></body>
</worldbody></mujoco>
"""


class FallingBall(gym.Env[np.ndarray, np.ndarray]):
    """A red ball that falls out of the picture."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012
    observation_space = gym.spaces.Box(-np.inf, np.inf, (7,), np.float64)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, render_mode: str | None = None) -> None:
        import mujoco

        self.render_mode = render_mode
        self._mujoco = mujoco
        self._model = mujoco.MjModel.from_xml_string(MODEL)
        self._data = mujoco.MjData(self._model)
        self._renderer = mujoco.Renderer(self._model, 48, 64)

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=options.get("seed"))
        self._mujoco.mj_resetData(self._model, self._data)
        self._mujoco.mj_forward(self._model, self._data)
        return self._data.qpos.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._mujoco.mj_step(self._model, self._data)
        return self._data.qpos.copy(), 0.0, False, False, {}

    def render(self) -> np.ndarray:
        self._renderer.update_scene(self._data, "side")
        return self._renderer.render()

    def close(self) -> None:
        self._renderer.close()


class ImageEnv(gym.Env[np.ndarray, int]):
    """Its observation is the image; the action says how bright the next one is."""

    metadata = {"render_modes": ["rgb_array", "human", "ansi"], "render_fps": 10}  # noqa: RUF012
    observation_space = gym.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    action_space = gym.spaces.Discrete(6)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._image = np.zeros((8, 8, 3), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._image = self.np_random.integers(0, 256, (8, 8, 3), np.uint8)
        return self._image.copy(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._image = np.full((8, 8, 3), 50 * action, np.uint8)
        return self._image.copy(), 0.0, bool(action == 5), False, {}

    def render(self) -> Any:
        modes = {"rgb_array": self._image.copy(), "ansi": "an image", "human": None}
        return modes[self.render_mode or "human"]


def brightness(clip: Clip) -> int:
    """Level 1 for a black last frame to 5 for a white one."""
    return 1 + round(4 * float(clip.frames[-1].mean()) / 255)


@pytest.fixture
def image_env_id(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(registry, "_factories", {"brightness": lambda: FakeRewardModel(brightness)})
    monkeypatch.setattr(registry, "_loaded", {})
    name = "RoboRewardImage-v0"
    gym.register(name, ImageEnv, max_episode_steps=4)
    yield name
    del gym.registry[name]


@pytest.mark.parametrize(
    ("source", "render_mode"),
    [
        ("render", "rgb_array"),
        ("observation", "rgb_array"),
        ("observation", None),
        (lambda env, observation: observation, None),
    ],
)
@pytest.mark.parametrize("model", ["brightness", FakeRewardModel(brightness)])
@pytest.mark.parametrize("task", ["whiten the image", lambda env: "whiten the image"])
def test_check_env_passes(
    image_env_id: str, model: Any, task: Any, source: Any, render_mode: str | None
) -> None:
    env = VLMRewardWrapper(
        gym.make(image_env_id, render_mode=render_mode), model, task, frame_source=source
    )
    with warnings.catch_warnings():
        # The checker warns about every wrapped environment.
        warnings.filterwarnings("ignore", ".*is different from the unwrapped version.*")
        check_env(env)


def test_image_observations_are_scored(image_env_id: str) -> None:
    env = VLMRewardWrapper(
        gym.make(image_env_id), "brightness", "whiten", frame_source="observation"
    )
    env.reset(seed=0)
    rewards = [env.step(action)[1] for action in (4, 2, 0, 5)]
    assert rewards == [0.0, 0.0, 0.0, 1.0]


def test_the_same_seed_gives_the_same_recording(image_env_id: str) -> None:
    env = VLMRewardWrapper(
        gym.make(image_env_id), "brightness", "whiten", frame_source="observation"
    )
    clips = []
    for _ in range(2):
        env.reset(seed=3)
        for _ in range(4):
            env.step(1)
        assert env.last_clip is not None
        clips.append(env.last_clip.frames)
    np.testing.assert_array_equal(*clips)


def test_vector_envs_see_a_float_where_there_is_a_score(image_env_id: str) -> None:
    def make() -> VLMRewardWrapper:
        return VLMRewardWrapper(
            gym.make(image_env_id), "brightness", "whiten", frame_source="observation"
        )

    envs = gym.vector.SyncVectorEnv([make, make])
    envs.reset(seed=0)
    for _ in range(3):
        assert "roboreward/level" not in envs.step(np.array([1, 3]))[4]
    _, rewards, _, _, infos = envs.step(np.array([1, 3]))
    assert infos["roboreward/level"].dtype.kind == "f"
    assert infos["roboreward/level"].tolist() == [2.0, 3.0]
    assert rewards.tolist() == [0.25, 0.5]
    envs.close()


def test_mujoco_env_is_recorded_to_its_end() -> None:
    os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is first imported
    mujoco = pytest.importorskip("mujoco")
    try:
        ball = FallingBall("rgb_array")
    except (mujoco.FatalError, RuntimeError, ImportError, AttributeError) as error:
        pytest.skip(f"MuJoCo cannot render here: {error}")
    model = FakeRewardModel(5)
    env = VLMRewardWrapper(gym.wrappers.TimeLimit(ball, 25), model, "drop the ball")
    assert play(env)[-1][1:4] == (1.0, True, False)
    frames = model.clips[0].frames
    red = (frames[..., 0].astype(int) - frames[..., 2] > 20).any(axis=2)  # (T, H) rows with red
    height = [int(np.argmax(rows)) if rows.any() else frames.shape[1] for rows in red]
    assert len(frames) == 26
    assert red[0].any()
    assert height == sorted(height)
    assert height[-1] > height[0]
    env.close()


@pytest.mark.filterwarnings("ignore:.*pkg_resources.*")
def test_cartpole_is_recorded_and_scored() -> None:
    pytest.importorskip("pygame")
    model = FakeRewardModel(lambda clip: min(5, len(clip.frames) // 3))
    cartpole = gym.make("CartPole-v1", render_mode="rgb_array")
    env = VLMRewardWrapper(cartpole, model, "balance the pole")
    env.reset(seed=0)
    steps = [env.step(0)]
    while not steps[-1][2]:
        steps.append(env.step(0))
    assert model.clips[0].frames.shape == (len(steps) + 1, 400, 600, 3)
    assert model.clips[0].fps == 50.0
    assert (model.clips[0].frames[0] != model.clips[0].frames[-1]).any()
    assert steps[-1][1] == (min(5, (len(steps) + 1) // 3) - 1) / 4
    env.close()
