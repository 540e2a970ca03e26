import copy
import pickle  # noqa: TID251 - multiprocessing sends specs so
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from roboreward_gym import (
    InvalidSetting,
    NotPortable,
    ProgressScore,
    VLMRewardVectorWrapper,
    VLMRewardWrapper,
    load_reward_model,
    registry,
)
from tests.fakes import FakeRewardModel, PaintedEnv, painted_frame, play

ID = "RoboRewardPainted-v0"


class UncopyableModel(FakeRewardModel):
    def __deepcopy__(self, memo: dict[int, Any]) -> "UncopyableModel":
        raise AssertionError("A second copy of the model was made.")


@pytest.fixture(autouse=True)
def painted_env(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_factories", {"portable-model": UncopyableModel})
    monkeypatch.setattr(registry, "_loaded", {})
    gym.register(ID, "tests.fakes:PaintedEnv", max_episode_steps=3)
    yield
    del gym.registry[ID]


def make(reward_model: Any = "portable-model", **settings: Any) -> VLMRewardWrapper:
    return VLMRewardWrapper(gym.make(ID, steps=100), reward_model, **settings)


def test_spec_makes_the_same_env_again_with_the_shared_model() -> None:
    env = make(reward_map="binary@4", task="jump", max_frames=16, on_failure="nan")
    assert env.spec is not None
    assert env.spec.to_json() == EnvSpec.from_json(env.spec.to_json()).to_json()
    for spec in (
        env.spec,
        EnvSpec.from_json(env.spec.to_json()),
        pickle.loads(pickle.dumps(env.spec)),
    ):
        again = gym.make(spec)
        assert isinstance(again, VLMRewardWrapper)
        assert again.spec == env.spec
        steps = play(again)
        assert len(steps) == 3
        assert steps[-1][1:4] == (0.0, True, False)
        model = load_reward_model("portable-model")
        assert isinstance(model, UncopyableModel)
        assert model.clips[-1].task == "jump"
        assert again.last_clip is model.clips[-1]


def test_wrapper_can_be_named_in_a_spec() -> None:
    wrapper = VLMRewardWrapper.wrapper_spec(reward_model="portable-model", task="jump")
    gym.register("RoboRewardScored-v0", "tests.fakes:PaintedEnv", additional_wrappers=(wrapper,))
    env = gym.make("RoboRewardScored-v0")
    assert play(env)[-1][1] == 0.5
    del gym.registry["RoboRewardScored-v0"]


OBJECTS = [
    ({"reward_model": UncopyableModel()}, "reward_model as an object, <object UncopyableModel>"),
    ({"task": lambda env: "jump"}, "Pass the task as text"),
    ({"frame_source": lambda env, observation: env.render()}, "Pass 'render'"),
    ({"reward_map": lambda score: 0.0}, "Pass the name of a reward map"),
    ({"on_failure": UncopyableModel()}, "Pass a policy"),
]


@pytest.mark.parametrize(("settings", "advice"), OBJECTS)
def test_a_spec_with_an_object_makes_the_env_again_in_this_process_only(
    settings: dict[str, Any], advice: str
) -> None:
    env = gym.wrappers.RecordEpisodeStatistics(make(**settings))
    again = gym.make(env.spec)
    assert again.spec == env.spec
    assert play(again)[-1][4]["roboreward/truncated"]
    elsewhere = EnvSpec.from_json(env.spec.to_json())
    with pytest.raises(NotPortable, match=advice):
        gym.make(elsewhere)
    with pytest.raises(NotPortable, match=advice):
        gym.make(pickle.loads(pickle.dumps(env.spec)))


def jump(env: gym.Env) -> str:
    """A task for a spec."""
    return f"jump {env.unwrapped.steps} times"


def picture(env: gym.Env, observation: object) -> np.ndarray:
    """A frame for a spec."""
    return np.full((6, 8, 3), 9, np.uint8)


def half(score: ProgressScore) -> float:
    """A reward for a spec."""
    return 0.5


def test_functions_by_name_travel_as_json() -> None:
    here = "tests.test_roboreward_gym_specs"
    env = make(task=f"{here}:jump", frame_source=f"{here}:picture", reward_map=f"{here}:half")
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert play(again)[-1][1] == 0.5
    clip = again.get_wrapper_attr("last_clip")
    assert (clip.task, clip.frames[-1].max()) == ("jump 100 times", 9)


@pytest.mark.parametrize("setting", ["task", "frame_source", "reward_map"])
@pytest.mark.parametrize(
    "name", ["tests.no_such_module:f", "tests.fakes:no_such_function", "tests.fakes:BLUE"]
)
def test_a_name_that_names_no_function_is_refused_at_construction(setting: str, name: str) -> None:
    with pytest.raises(InvalidSetting, match=name):
        make(**{setting: name})


def test_a_reward_map_of_no_such_module_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="No module named 'no_such_module'"):
        make(reward_map="no_such_module:f")


class ColonKeys(PaintedEnv):
    def __init__(self, steps: int) -> None:
        super().__init__(steps)
        image = gym.spaces.Box(0, 255, (6, 8, 3), np.uint8)
        self.observation_space = gym.spaces.Dict({"camera:top": image})

    def _observe(self) -> dict[str, Any]:
        return {"camera:top": super()._observe()["cameras"]["wrist"]}


def test_tasks_and_observation_keys_with_a_colon_are_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "camera").mkdir()  # as of pictures: no module with functions
    monkeypatch.syspath_prepend(str(tmp_path))
    env = VLMRewardWrapper(ColonKeys(2), "portable-model", "put:cup", frame_source="camera:top")
    play(env)
    assert env.last_clip is not None
    assert env.last_clip.task == "put:cup"
    assert env.last_clip.frames[-1].tolist() == painted_frame(2, 0).tolist()
    assert "there is no module 'put'" in caplog.text, "it may be a function name with a typo"
    envs = VLMRewardVectorWrapper(
        gym.vector.SyncVectorEnv([lambda: ColonKeys(2)]), "portable-model", "put:cup"
    )
    envs.reset()
    assert envs.tasks == ("put:cup",)


def test_a_function_of_the_main_program_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "jump_twice", lambda env: "jump", raising=False)
    env = make(task="__main__:jump_twice")
    env.reset()
    assert env.task == "jump"


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
@pytest.mark.parametrize("scoring", ["immediate", "deferred"])
def test_an_env_with_a_named_model_is_copied_without_the_model(
    copied: Callable[[gym.Env], gym.Env], scoring: str
) -> None:
    env = VLMRewardWrapper(
        PaintedEnv(3), "portable-model", on_failure="portable-model", scoring=scoring
    )
    play(env)
    again = copied(env)
    play(again)
    again.reset()
    model = load_reward_model("portable-model")
    assert isinstance(model, UncopyableModel)
    assert len(model.clips) == 2
