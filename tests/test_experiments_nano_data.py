"""nano's training data are the episodes of SimReward, with what its tower's training needs beside them."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.simulation import nano_data, simreward_episode
from experiments.simulation.nano_data import NanoDataConfig, collect, make_clips, spelled
from experiments.simulation.simreward import SEED_OFFSET
from experiments.simulation.simreward_episode import EpisodePlan, ask, play, record, render
from reward_models.data.reward_data import RewardData
from reward_models.protocol.frames import sample_clip
from roboreward_gym.errors import InvalidSetting
from roboreward_gym.types import Clip
from tests.fakes_workers import PoolInProcess

PLAN = EpisodePlan(Path(), "train", SEED_OFFSET["train"] + 1, other_envs=0.0)


@pytest.mark.parametrize("shifts", [(), ("camera", "jpeg")])
def test_clips_are_what_the_protocol_samples_of_the_published_recording(
    shifts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simreward_episode, "draw_shifts", lambda *_: shifts)
    monkeypatch.setattr(simreward_episode, "CUT", 1.0)
    clips = make_clips(PLAN)
    rng = np.random.default_rng([PLAN.seed, 3])
    recording = record(PLAN, rng)
    questions = list(ask(PLAN, recording, rng))
    lengths = dict.fromkeys(question.frames for question in questions)
    assert len(clips) == len(lengths) == 2
    for clip, length in zip(clips, lengths, strict=True):
        sampled = sample_clip(Clip(recording.frames.frames[:length], "watch", recording.frames.fps))
        stored = [round(t * clip.meta["fps"]) for t in clip.meta["frame_times_s"]]
        for frame, index in zip(sampled.frames, sampled.indices, strict=True):
            assert np.array_equal(frame, clip.frames[stored.index(int(index))])
        asked = [q for q in questions if q.frames == length]
        assert [row["level"] for row in clip.examples] == [q.reward for q in asked]
        assert [row["task"].lower().rstrip(".") for row in clip.examples] == [q.task for q in asked]


def test_landmarks_are_where_the_moved_camera_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = {}
    for shifts in ((), ("camera",)):
        monkeypatch.setattr(simreward_episode, "draw_shifts", lambda *_, shifts=shifts: shifts)
        dense[shifts] = make_clips(PLAN)[0].dense
    moved, unmoved = dense["camera",], dense[()]
    both = (moved[..., 2] > 0) & (unmoved[..., 2] > 0)
    assert np.abs(moved - unmoved)[both][:, :2].max() > 0.02
    assert np.array_equal(moved[..., 3], unmoved[..., 3])


def test_landmarks_belong_to_the_later_frame_of_each_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simreward_episode, "draw_shifts", lambda *_: ())
    clip = make_clips(PLAN)[0]
    rng = np.random.default_rng([PLAN.seed, 3])
    rng.random()
    _, shifts, played, env = play(PLAN, rng)
    last = np.array([len(played.captions) - 1])
    assert np.array_equal(render(PLAN, played, shifts, env, last)[0][1], clip.dense[-1])


def test_spellings_keep_the_words() -> None:
    rng = np.random.default_rng(0)
    found = {spelled("put the duck on the towel", rng) for _ in range(200)}
    assert found == {
        "put the duck on the towel", "Put the duck on the towel",
        "put the duck on the towel.", "Put the duck on the towel.",
    }  # fmt: skip


def test_a_folder_opens_as_reward_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nano_data, "worker_pool", PoolInProcess)
    for split in ("train", "validation"):
        config = NanoDataConfig(tmp_path / split, split, episodes=2, on_policy=0.0, size=(96, 128))
        collect(config)
    splits = RewardData.open_splits([tmp_path / "train", tmp_path / "validation"])
    assert set(splits) == {"train", "validation"}
    assert splits["train"].stored(0).shape == (8, 96, 128, 3)
    assert splits["train"].dense.shape[1:] == (4, 7, 4)
    rows = (tmp_path / "train" / "clips.jsonl").read_text().splitlines()
    assert all(json.loads(row)["seed"] >= SEED_OFFSET["train"] for row in rows)


def test_the_test_split_is_not_offered(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        NanoDataConfig(tmp_path, "test").plans()  # ty: ignore[invalid-argument-type]


def test_settings_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="on_policy"):
        NanoDataConfig(tmp_path, on_policy=1.5)
    with pytest.raises(InvalidSetting, match="episodes"):
        NanoDataConfig(tmp_path, episodes=0)
    for shares in ((-0.1, 0.5), (0.6, 0.6)):
        with pytest.raises(InvalidSetting, match="shifted"):
            NanoDataConfig(tmp_path, shifted=shares)


@pytest.mark.parametrize(
    ("shares", "least", "most"), [((0, 0), 0, 0), ((1, 0), 1, 1), ((0, 1), 2, 4)]
)
def test_so_many_episodes_are_shifted(
    tmp_path: Path, shares: tuple[float, float], least: int, most: int
) -> None:
    plans = NanoDataConfig(tmp_path, episodes=2, on_policy=0.0, shifted=shares).plans()
    counts = [len(clip.meta["shifts"]) for plan in plans for clip in make_clips(plan)]
    assert all(least <= count <= most for count in counts)
