"""Episodes are on disk when they end, and the spoiled ones say why."""

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from roboreward_gym import Episode, ProgressScore, VLMRewardWrapper
from roboreward_gym.errors import EpisodeFileError, NoEpisode, RobotFaultEpisode
from robots.arm import ArmReading
from robots.recording import INDEX, RecordEpisodes
from robots.widowx import WidowXEnv
from tests.fakes import FakeRewardModel
from tests.fakes_robots import EmptyScene, FakeArm


def recorder(folder: Path, arm: FakeArm | None = None, steps: int = 3) -> RecordEpisodes:
    env = WidowXEnv(arm or FakeArm(), EmptyScene(), "wave", render_mode="rgb_array")
    return RecordEpisodes(gym.wrappers.TimeLimit(env, steps), folder)


def index(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / INDEX).read_text().splitlines()]


def play(env: gym.Env, steps: int = 3) -> None:
    env.reset(seed=7)
    for _ in range(steps):
        env.step(np.array([0.2, 0, 0, 0, 0, 0, 1.0], np.float32))


def test_an_episode_is_on_disk_when_it_ends(tmp_path: Path) -> None:
    env = recorder(tmp_path)
    play(env)
    assert env.last_path is not None
    episode = Episode.load(env.last_path)
    assert (len(episode), episode.truncated, episode.terminated) == (3, True, False)
    assert (episode.task, episode.seed, episode.fps, episode.invalid) == ("wave", 7, 5.0, None)
    assert [int(f.max()) for f in episode.frames] == [0, 1, 2, 3]
    np.testing.assert_allclose(episode.actions[0], [0.2, 0, 0, 0, 0, 0, 1.0], atol=1e-6)


def test_a_spoiled_episode_is_kept_with_its_reason_and_never_scored(tmp_path: Path) -> None:
    arm, reward_model = FakeArm(), FakeRewardModel(5)
    inner = recorder(tmp_path, arm)
    env = VLMRewardWrapper(inner, reward_model)
    play(env, steps=2)
    arm.reading = ArmReading(np.zeros(6), 1.0, image_age_s=2.0)
    with pytest.raises(RobotFaultEpisode):
        env.step(np.zeros(7))
    assert reward_model.clips == []
    with pytest.raises(NoEpisode):
        env.rescore()
    assert inner.last_path is not None
    kept = Episode.load(inner.last_path)
    assert kept.invalid is not None
    assert "image must be at most 0.5 s old, got 2.00 s" in kept.invalid
    assert (len(kept), kept.truncated) == (2, False)
    with pytest.raises(EpisodeFileError, match=r"An invalid episode .* cannot have a score"):
        inner.attach_score(ProgressScore(level=5))


def test_after_a_spoiled_episode_the_next_one_is_scored(tmp_path: Path) -> None:
    arm, reward_model = FakeArm(), FakeRewardModel(5)
    env = VLMRewardWrapper(recorder(tmp_path, arm), reward_model)
    play(env, steps=2)
    arm.reading = ArmReading(np.zeros(6), 1.0, joints_age_s=2.0)
    with pytest.raises(RobotFaultEpisode):
        env.step(np.zeros(7))
    play(env)
    assert [len(clip.frames) for clip in reward_model.clips] == [4]
    assert [line["invalid"] is None for line in index(tmp_path)] == [False, True]


def test_one_that_is_spoiled_before_its_first_step_is_in_the_index(tmp_path: Path) -> None:
    arm = FakeArm()
    env = recorder(tmp_path, arm)
    env.reset(seed=1)
    arm.reading = ArmReading(np.zeros(6), 1.0, joints_age_s=2.0)
    with pytest.raises(RobotFaultEpisode):
        env.step(np.zeros(7))
    (line,) = index(tmp_path)
    assert (line["file"], line["steps"]) == (None, 0)
    assert env.last_path is None
    with pytest.raises(NoEpisode):
        env.attach_score(ProgressScore(level=1))


@pytest.mark.parametrize("end", ["reset", "close"])
def test_an_interrupted_episode_is_kept_as_invalid(tmp_path: Path, end: str) -> None:
    env = recorder(tmp_path)
    play(env, steps=1)
    getattr(env, end)()
    assert "abandoned" in str(index(tmp_path)[0]["invalid"])


def test_numbering_goes_on_after_a_restart_and_scores_join_their_episode(tmp_path: Path) -> None:
    play(recorder(tmp_path))
    env = recorder(tmp_path)
    play(env)
    assert env.last_path == tmp_path / "episode-000001.npz"
    env.attach_score(ProgressScore(level=4))
    score = Episode.load(env.last_path).score
    assert score is not None
    assert score.level == 4
    assert Episode.load(tmp_path / "episode-000000.npz").score is None
