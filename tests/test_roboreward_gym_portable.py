import json
import pickle  # noqa: TID251 - multiprocessing sends specs so
from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec

from roboreward_gym import (
    NotPortable,
    VLMRewardWrapper,
    load_reward_model,
    registry,
)
from tests.fakes import FakeRewardModel, play

ID = "RoboRewardPainted-v0"


class UncopyableJudge(FakeRewardModel):
    def __deepcopy__(self, memo: dict[int, Any]) -> "UncopyableJudge":
        raise AssertionError("A second copy of the model was made.")


@pytest.fixture(autouse=True)
def painted_env(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_factories", {"portable-judge": UncopyableJudge})
    monkeypatch.setattr(registry, "_loaded", {})
    gym.register(ID, "tests.fakes:PaintedEnv", max_episode_steps=3)
    yield
    del gym.registry[ID]


def make(reward_model: Any = "portable-judge", **settings: Any) -> VLMRewardWrapper:
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
        assert steps[-1][1:4] == (0.0, False, True)
        judge = load_reward_model("portable-judge")
        assert isinstance(judge, UncopyableJudge)
        assert judge.clips[-1].task == "jump"
        assert again.last_clip is judge.clips[-1]


def test_wrapper_can_be_named_in_a_spec() -> None:
    wrapper = VLMRewardWrapper.wrapper_spec(reward_model="portable-judge", task="jump")
    gym.register("RoboRewardJudged-v0", "tests.fakes:PaintedEnv", additional_wrappers=(wrapper,))
    env = gym.make("RoboRewardJudged-v0")
    assert play(env)[-1][1] == 0.5
    del gym.registry["RoboRewardJudged-v0"]


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"reward_model": UncopyableJudge()}, "reward_model, got <object UncopyableJudge>"),
        ({"task": lambda env: "jump"}, "task"),
        ({"frame_source": lambda env, observation: env.render()}, "frame_source"),
        ({"reward_map": lambda score: 0.0}, "reward_map"),
        ({"on_failure": UncopyableJudge()}, "on_failure"),
    ],
)
def test_spec_with_an_object_is_never_copied_and_refused_by_name(
    settings: dict[str, Any], name: str
) -> None:
    env = make(**settings)
    assert play(env)[-1][3]
    outer = gym.wrappers.RecordEpisodeStatistics(env)
    assert outer.spec is not None
    json.loads(outer.spec.to_json())
    with pytest.raises(NotPortable, match=name):
        gym.make(env.spec)
