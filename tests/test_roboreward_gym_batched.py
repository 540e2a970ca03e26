"""Simulators that step a batch: tensors, infos in other shapes, resets that nobody tells of."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from roboreward_gym import (
    FrameCapture,
    InvalidClip,
    InvalidSetting,
    NoFrames,
    VLMRewardVectorWrapper,
    VLMRewardWrapper,
)
from tests.fakes_vector import (
    SIZE,
    ColourEnv,
    ColourModel,
    code,
    colour,
    colour_reward,
    make_vector,
    mean_colour,
)

LENGTHS = np.array([2, 3])
ACTIONS = np.zeros((2, 2), np.float32)


class Tensor:
    """As torch's on a GPU: no array before it is on the CPU."""

    def __init__(self, array: np.ndarray, *, on_cpu: bool = False) -> None:
        self.array, self._on_cpu = np.asarray(array), on_cpu

    def cpu(self) -> "Tensor":
        return Tensor(self.array, on_cpu=True)

    def new_tensor(self, array: np.ndarray) -> "Tensor":
        return Tensor(np.asarray(array, self.array.dtype))

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        assert self._on_cpu, "can't convert a CUDA tensor to numpy"
        return self.array


class Simulator(gym.Env[Any, Any]):
    """Two environments in one, whose every value is a batch on another device. Resets in the same step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012
    num_envs = 2
    task = "fade"

    def __init__(self, final: str | None = "final_obs") -> None:
        self._final = final
        self.seeds: list[Any] = []
        self.closed = 0
        self.render_mode = "rgb_array"
        self.observation_space = gym.spaces.Dict(
            {"rgb": gym.spaces.Box(0, 255, (2, *SIZE), np.uint8)}
        )
        self.action_space = gym.spaces.Box(-1, 1, (2, 2), np.float32)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.steps, self.episodes = np.zeros(2, int), np.ones(2, int)
        self.seeds.append((seed, options))
        return self._observe(), {}

    def close(self) -> None:
        self.closed += 1

    def step(self, action: Any) -> Any:
        self.steps += 1
        ended = self.steps >= LENGTHS
        infos = {self._final: self._observe(), f"_{self._final}": ended} if ended.any() else {}
        self.steps[ended], self.episodes[ended] = 0, self.episodes[ended] + 1
        reward = Tensor(np.full(2, 7, np.float32))
        return self._observe(), reward, Tensor(ended), Tensor(np.zeros(2, bool)), infos

    def render(self) -> Any:
        return Tensor(self._frames())

    def _frames(self) -> np.ndarray:
        pairs = enumerate(zip(self.steps, self.episodes, strict=True))
        colours = [np.broadcast_to(colour(step, n, i), SIZE) for i, (step, n) in pairs]
        return np.stack(colours).astype(np.uint8)

    def _observe(self) -> dict[str, Any]:
        return {"rgb": Tensor(np.moveaxis(self._frames(), -1, 1))}  # channels first


class ResetsItself(Simulator):
    metadata = {**Simulator.metadata, "autoreset_mode": "SameStep"}  # noqa: RUF012


def last_colours(envs: VLMRewardVectorWrapper, model: ColourModel, steps: int) -> list[Any]:
    envs.reset()
    for _ in range(steps):
        envs.step(ACTIONS)
    return [mean_colour(clip) for clip in model.clips]


ENDS = [colour(2, 1, 0), colour(3, 1, 1), colour(2, 2, 0)]


@pytest.mark.skipif(not hasattr(gym.vector, "AutoresetMode"), reason="Gymnasium 1.0 has one mode")
@pytest.mark.parametrize("key", ["final_obs", "final_observation"])
@pytest.mark.parametrize("source", ["rgb", lambda envs, seen: seen["rgb"]])
def test_a_simulator_of_tensors_is_recorded_to_its_ends(source: Any, key: str) -> None:
    model = ColourModel()
    envs = VLMRewardVectorWrapper(
        ResetsItself(key),  # ty: ignore[invalid-argument-type]
        model,
        "fade",
        frame_source=source,
    )
    assert last_colours(envs, model, 4) == ENDS


def test_rewards_and_flags_are_tensors_where_the_simulator_has_such() -> None:
    envs = VLMRewardVectorWrapper(
        ResetsItself(),  # ty: ignore[invalid-argument-type]
        ColourModel(),
        "fade",
        frame_source="rgb",
        reward_map=colour_reward,
    )
    envs.reset()
    envs.step(ACTIONS)
    _, rewards, terminations, truncations, infos = envs.step(ACTIONS)
    assert rewards.array.tolist() == [np.float32(code(*ENDS[0])), 0.0]
    assert rewards.array.dtype == np.float32
    assert terminations.array.tolist() == [True, False]
    assert truncations.array.dtype == bool
    assert infos["roboreward/env_reward"].tolist() == [7.0, 7.0]


def test_seeds_options_spaces_and_the_end_reach_the_simulator() -> None:
    simulator = ResetsItself()
    one = gym.spaces.Box(0, 255, SIZE, np.uint8)
    simulator.single_observation_space = one  # ty: ignore[unresolved-attribute]
    envs = VLMRewardVectorWrapper(simulator, ColourModel(), "fade", frame_source="rgb")  # ty: ignore[invalid-argument-type]
    envs.reset(seed=7, options={"level": 2})
    assert simulator.seeds == [(7, {"level": 2})]
    assert envs.single_observation_space == one
    assert envs.single_action_space == simulator.action_space
    envs.close()
    assert simulator.closed == 1


def test_a_simulator_that_does_not_tell_when_it_resets_is_refused() -> None:
    with pytest.raises(InvalidSetting, match=r"Simulator does not say.*AutoresetMode"):
        VLMRewardVectorWrapper(Simulator(), ColourModel(), "fade")  # ty: ignore[invalid-argument-type]


def test_a_simulator_without_last_observations_is_refused_at_the_first_end() -> None:
    envs = VLMRewardVectorWrapper(
        ResetsItself(None),  # ty: ignore[invalid-argument-type]
        ColourModel(),
        "fade",
        frame_source="rgb",
    )
    envs.reset()
    envs.step(ACTIONS)
    with pytest.raises(NoFrames, match="last observation of an ended episode is not in the infos"):
        envs.step(ACTIONS)


def test_a_batch_is_no_single_environment() -> None:
    with pytest.raises(InvalidSetting, match=r"Simulator steps several.*VLMRewardVectorWrapper"):
        VLMRewardWrapper(Simulator(), ColourModel(), "fade")


class Told(gym.vector.VectorEnv):
    """Infos as a list of dicts, same-step autoreset, and no word of it: SuperSuit's way."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012
    render_mode = "rgb_array"
    num_envs = 2

    def __init__(self, last: str = "terminal_observation") -> None:
        self._envs = [ColourEnv(steps, i) for i, steps in enumerate(LENGTHS)]
        self._last = last
        self.observation_space = self._envs[0].observation_space["image"]
        self.action_space = self._envs[0].action_space

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        started = [env.reset() for env in self._envs]
        return np.stack([seen["image"] for seen, _ in started]), [info for _, info in started]

    def step(self, actions: Any) -> Any:
        images, infos, flags = [], [], []
        for env, action in zip(self._envs, actions, strict=True):
            seen, _, ended, _, info = env.step(action)
            if ended:
                info = {**info, self._last: seen["image"]}
                seen, _ = env.reset()
            images.append(seen["image"])
            infos.append(info)
            flags.append(ended)
        return (
            np.stack(images),
            np.zeros(2),
            np.array(flags, np.uint8),
            np.zeros(2, np.uint8),
            infos,
        )

    def render(self) -> Any:
        return [env.render().copy() for env in self._envs]


def test_infos_may_be_a_list_and_last_observations_tell_of_same_step_resets() -> None:
    model = ColourModel()
    envs = VLMRewardVectorWrapper(Told(), model, "fade", frame_source="observation")
    assert last_colours(envs, model, 4) == ENDS
    assert envs.step(ACTIONS)[4]["step"].tolist() == [1, 2]


def test_rendering_is_refused_once_the_reset_is_seen() -> None:
    envs = VLMRewardVectorWrapper(Told(), ColourModel(), "fade")
    envs.reset()
    envs.step(ACTIONS)
    with pytest.raises(NoFrames, match=r"render\(\) shows the next episode already"):
        envs.step(ACTIONS)


class OneView(gym.vector.VectorWrapper):
    """Renders the first environment only, unless asked for all: EnvPool's way."""

    def render(self, *, everything: bool = False) -> Any:
        frames = np.stack(self.env.render() or ())
        return frames if everything else frames[:1]


def test_a_view_of_one_environment_is_refused_and_a_function_gives_all() -> None:
    model = ColourModel()
    envs = VLMRewardVectorWrapper(OneView(make_vector("sync", [2, 3])), model)
    with pytest.raises(NoFrames, match=r"2 frames.*ndarray of \(1, 4, 6, 3\).*a function"):
        envs.reset()
    envs = VLMRewardVectorWrapper(
        OneView(make_vector("sync", [2, 3])),
        model,
        frame_source=lambda envs, seen: envs.render(everything=True),
    )
    assert last_colours(envs, model, 3) == ENDS[:2]


class Mission(ColourEnv):
    """Has its task under MiniGrid's name."""

    task = property()

    @property
    def mission(self) -> str:
        return f"mission {self.episode}"


def test_a_mission_is_a_task() -> None:
    env = VLMRewardWrapper(Mission(1), ColourModel())
    env.reset()
    assert env.task == "mission 1"


def test_a_function_must_return_a_task() -> None:
    env = VLMRewardWrapper(ColourEnv(1), ColourModel(), lambda env: 3)  # ty: ignore[invalid-argument-type]
    with pytest.raises(InvalidClip, match="of type int"):
        env.reset()


def test_a_task_goes_before_a_mission() -> None:
    class Both(ColourEnv):
        mission = "the mission"

    env = VLMRewardWrapper(Both(1), ColourModel())
    env.reset()
    assert env.task == "episode 1 of 0"


def test_a_task_of_one_word_is_taken_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    class Named(ColourEnv):
        task = "lift"

    env = VLMRewardWrapper(Named(1), ColourModel())
    env.reset()
    assert env.task == "lift"
    assert "is not a sentence" in caplog.text


@pytest.mark.parametrize("wrap", [lambda env: env, FrameCapture])
def test_missions_of_a_vector_are_its_tasks(wrap: Callable[[Any], Any]) -> None:
    envs = gym.vector.SyncVectorEnv([lambda i=i: wrap(Mission(2, i)) for i in range(2)])
    wrapped = VLMRewardVectorWrapper(envs, ColourModel())
    wrapped.reset()
    assert wrapped.tasks == ("mission 1", "mission 1")


def test_a_capture_without_a_task_says_what_to_pass() -> None:
    class Untold(ColourEnv):
        task = property()

    envs = gym.vector.SyncVectorEnv([lambda: FrameCapture(Untold(2))])
    with pytest.raises(ValueError, match="Pass task="):
        VLMRewardVectorWrapper(envs, ColourModel()).reset()


def test_a_path_into_renders_and_several_cameras_work_in_vectors() -> None:
    class TwoCameras(ColourEnv):
        def render(self) -> Any:
            frame = super().render()
            return [frame, 0 * frame]

    model = ColourModel()
    envs = gym.vector.SyncVectorEnv([lambda: TwoCameras(1)])
    envs = VLMRewardVectorWrapper(envs, model, frame_source=["render/0", "image", "render/1"])
    envs.reset()
    envs.step(ACTIONS[:1])
    assert [model.clips[0].frames[-1][0, x].tolist() for x in (0, 6, 12)] == [
        list(colour(1, 1, 0)),
        list(colour(1, 1, 0)),
        [0, 0, 0],
    ]
