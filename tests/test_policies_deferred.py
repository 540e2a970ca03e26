"""Learning from scores that come late is learning from scores that come at once, to the bit."""

import json
import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from policies.dsrl import FineTuned, Learner, train
from policies.player import BaseNoise, evaluate
from roboreward_gym import Clip, ProgressScore, RewardModelFailure, VLMRewardWrapper
from roboreward_gym.step_info import DEFERRED_KEYS
from tests.fakes_policies import ACTIONS, CHUNK, TINY, GoToFlag, TwoModes

SHORT = replace(TINY, episodes=10, warm_up_episodes=3, window=3)


class FilmedFlag(GoToFlag):
    """The picture turns red while the point is on the side of the flag."""

    def _observe(self) -> dict[str, Any]:
        observation = super()._observe()
        observation["image"][..., 0] = 255 * (self.x * self.flag > 0.2)
        return observation


class RedJudge:
    """Level 5 for a red last frame; unreadable for the episodes in `mute`."""

    def __init__(self, mute: Sequence[int] = ()) -> None:
        self.mute = mute
        self.asked = 0
        self.may_speak = threading.Event()
        self.may_speak.set()

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        assert self.may_speak.wait(30)
        self.asked += 1
        if self.asked - 1 in self.mute:
            return [ProgressScore(None, text="I cannot see") for _ in clips]
        return [ProgressScore(5 if clip.frames[-1, 0, 0, 0] else 1) for clip in clips]


class SlowlyJudged(VLMRewardWrapper):
    """The judge says nothing before it is waited for: the latest that a score can come."""

    def __init__(self, env: GoToFlag, judge: RedJudge, *arguments: Any, **settings: Any) -> None:
        super().__init__(env, judge, *arguments, **settings)
        self.judge = judge
        judge.may_speak.clear()

    def collect(self) -> Any:
        self.judge.may_speak.set()
        done = super().collect()
        self.judge.may_speak.clear()
        return done


def judged(
    scoring: str, judge: RedJudge | None = None, make: type[VLMRewardWrapper] = VLMRewardWrapper
) -> VLMRewardWrapper:
    settings = {"frame_source": "image", "fps": 5.0, "on_failure": "nan", "scoring": scoring}
    return make(FilmedFlag(), judge or RedJudge(), "go to the flag", **settings)


def tune(run: Path, env: VLMRewardWrapper, **options: Any) -> FineTuned:
    return train(env, TwoModes(), SHORT, run_dir=run, **options)


def weights(tuned: FineTuned) -> torch.Tensor:
    policies = (tuned.last, tuned.best)
    return torch.cat([p.detach().flatten() for made in policies for p in made.actor.parameters()])


def lines(run: Path) -> list[dict[str, Any]]:
    """The metrics of a run, less what only deferred scoring tells."""
    told = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in DEFERRED_KEYS} for line in told]


@pytest.mark.parametrize("make", [VLMRewardWrapper, SlowlyJudged])
@pytest.mark.parametrize("mute", [(), (2, 6)], ids=["readable", "some unreadable"])
def test_training_is_bit_equal(
    tmp_path: Path, make: type[VLMRewardWrapper], mute: Sequence[int]
) -> None:
    at_once = tune(tmp_path / "at once", judged("immediate", RedJudge(mute)))
    late = tune(tmp_path / "late", judged("deferred", RedJudge(mute), make))
    assert torch.equal(weights(at_once), weights(late))
    assert lines(tmp_path / "at once") == lines(tmp_path / "late")
    rewards = [m["reward"] for m in late.metrics]
    assert len({r for r in rewards if not math.isnan(r)}) == 2, "something was there to be learned"
    assert [i for i, r in enumerate(rewards) if math.isnan(r)] == list(mute)


def test_a_resumed_run_with_late_scores_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = tune(tmp_path / "whole", judged("deferred"))

    def interrupt(number: int, *_: Any) -> None:
        if number == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(tmp_path / "cut", judged("deferred"), on_episode=interrupt)
    again = tune(tmp_path / "cut", judged("deferred"), resume=True)
    assert torch.equal(weights(whole), weights(again))
    assert lines(tmp_path / "whole") == lines(tmp_path / "cut")


def test_a_failed_judge_stops_the_training_where_its_score_is_needed(tmp_path: Path) -> None:
    env = VLMRewardWrapper(
        FilmedFlag(), RedJudge([1]), "go", frame_source="image", fps=5.0, scoring="deferred"
    )
    with pytest.raises(RewardModelFailure, match="I cannot see"):
        tune(tmp_path, env)
    assert env.rescore(RedJudge())[1] in (0.0, 1.0)


def test_evaluation_waits_for_the_scores() -> None:
    noise = BaseNoise(CHUNK, ACTIONS)
    both = [
        [record.reward for record in evaluate(judged(scoring), TwoModes(), noise, range(6))]
        for scoring in ("immediate", "deferred")
    ]
    assert both[0] == both[1]
    assert set(both[0]) == {0.0, 1.0}


def test_episodes_wait_in_the_replay_until_they_are_scored() -> None:
    record = evaluate(judged("immediate"), TwoModes(), BaseNoise(CHUNK, ACTIONS), [0])[0]
    learner = Learner(SHORT, TwoModes())
    pending = replace(record, rewards=np.append(record.rewards[:-1], np.float32(math.nan)))
    learner.hold(pending, 0)
    assert len(learner.replay) == 0
    learner.replay.score(0, record.reward)
    other = Learner(SHORT, TwoModes())
    other.hold(record, 0)
    other.replay.score(0, record.reward)
    assert torch.equal(learner.replay.data, other.replay.data)
    learner.hold(pending, 1)
    learner.replay.forget(1)
    learner.replay.score(1, 1.0)
    assert torch.equal(learner.replay.data, other.replay.data)
