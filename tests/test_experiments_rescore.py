"""Saved episodes, scored by another reward model and learned from again."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.played_episode import PlayedEpisode, training_path
from experiments.rescore import score_episodes, score_played
from experiments.run_folder import RunFolderError
from policies.player import EpisodeRecord
from roboreward_gym.errors import EpisodeFileError
from roboreward_gym.registry import register_reward_model
from roboreward_gym.types import Clip, ProgressScore


def played(level: float = 4.0, seed: int = 7) -> PlayedEpisode:
    rng = np.random.default_rng(seed)
    clip = Clip(
        rng.integers(0, 255, (3, 8, 8, 3), np.uint8), "push", 5.0, indices=np.array([0, 2, 4]), num_frames=5
    )  # fmt: skip
    record = EpisodeRecord(
        features=torch.randn(3, 5), noise=torch.randn(2, 4, 7), actions=torch.randn(2, 4, 7), executed=np.array([4, 1]),
        rewards=np.array([0, 0, 0, 0, 0.25], np.float32), terminated=False, truncated=True, seed=seed,
        logged={"truth/level": level, "roboreward/level": 2.0},
    )  # fmt: skip
    score = ProgressScore(2, np.array([0, 1, 0, 0, 0]), text="ANSWER: 2", manifest={"model": "x"})
    return PlayedEpisode(clip, score, record, "learning")


def test_a_saved_episode_is_read_back_bit_exactly(tmp_path: Path) -> None:
    episode = played()
    episode.save(tmp_path / "a" / "1.npz")
    back = PlayedEpisode.load(tmp_path / "a" / "1.npz")
    assert np.array_equal(back.clip.frames, episode.clip.frames)
    assert np.array_equal(back.clip.indices, [0, 2, 4])
    assert (back.clip.task, back.clip.fps, back.clip.num_frames) == ("push", 5.0, 5)
    for name in ("features", "noise", "actions", "executed", "rewards"):
        assert np.array_equal(getattr(back.record, name), getattr(episode.record, name))
    plain = ("terminated", "truncated", "seed", "logged")
    assert [getattr(back.record, n) for n in plain] == [getattr(episode.record, n) for n in plain]
    assert (back.score.level, back.score.text, back.score.manifest) == (
        2,
        "ANSWER: 2",
        {"model": "x"},
    )
    assert back.phase == "learning"
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["1.npz"]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive"])
def test_a_damaged_episode_is_named(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "1.npz").write_bytes(damage)
    with pytest.raises(EpisodeFileError, match=r"1\.npz holds no readable episode"):
        PlayedEpisode.load(tmp_path / "1.npz")


class Counting:
    """Answers 3, and counts the clips."""

    clips = 0

    def score(self, clips: list[Clip]) -> list[ProgressScore]:
        Counting.clips += len(clips)
        return [ProgressScore(3) for _ in clips]


def test_episodes_are_scored_once_by_each_reward_model(tmp_path: Path) -> None:
    register_reward_model("counting", Counting, replace=True)
    for number in range(3):
        played(seed=number).save(training_path(tmp_path, number))
    assert [score.level for score in score_episodes(tmp_path, "counting").values()] == [3, 3, 3]
    played(seed=3).save(training_path(tmp_path, 3))
    assert len(score_episodes(tmp_path, "counting")) == 4
    assert Counting.clips == 4
    assert [s.level for s in score_episodes(tmp_path, "truth").values()] == [4, 4, 4, 4]
    assert [s.level for s in score_episodes(tmp_path, "constant").values()] == [3, 3, 3, 3]


class LastMoment:
    """Success where the recording has its fifth frame."""

    def score(self, clips: list[Clip]) -> list[ProgressScore]:
        return [ProgressScore(5 if clip.num_frames == 5 else 3) for clip in clips]


def test_a_guard_checks_saved_episodes_and_its_scores_are_kept_apart(tmp_path: Path) -> None:
    register_reward_model("last-moment", LastMoment, replace=True)
    played().save(training_path(tmp_path, 0))
    guarded = "guarded:progress?endings=2"
    for _ in range(2):  # once scored, once read
        assert score_episodes(tmp_path, "last-moment")[0].level == 5
        score = score_episodes(tmp_path, "last-moment", guarded)[0]
        assert (score.level, score.manifest["guard"]["levels"]) == (4, [5, 3])
        assert score_episodes(tmp_path, "truth", guarded)[0].level == 4


def test_a_simulated_human_errs_in_the_share_that_was_asked_for_and_always_alike() -> None:
    episodes = [played(level=1 + n % 5, seed=n) for n in range(300)]
    truth = [1 + n % 5 for n in range(300)]
    rated = [score.level for score in score_played("simulated-human:0.2", episodes)]
    again = [score.level for score in score_played("simulated-human:0.2", episodes[::-1])][::-1]
    assert rated == again
    assert 0.13 < np.mean(np.not_equal(rated, truth)) < 0.27
    assert score_played("simulated-human:0", episodes)[3].level == 4
    assert set(rated) <= {1, 2, 3, 4, 5}


def test_an_unknown_truth_stays_unknown() -> None:
    episode = played()
    blind = dataclasses.replace(episode, record=dataclasses.replace(episode.record, logged={}))
    assert score_played("truth", [blind])[0].level is None
    assert score_played("simulated-human:1", [blind])[0].level is None


def test_a_run_without_saved_episodes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no training episodes"):
        score_episodes(tmp_path, "constant")
