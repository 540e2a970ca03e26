"""Reward data: what a clip shows, what it is labelled with, and how it lies on disk."""

import colorsys
import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.config import EVALUATION_SEEDS, SHOWCASE_SEEDS, TRAINING_SEEDS
from experiments.run_folder import RunFolderError
from experiments.simulation import reward_data, reward_episodes
from experiments.simulation.demonstrations import ENV_IDS, DemonstrationConfig
from experiments.simulation.reward_data import (
    FRAMES,
    SEEDS_PER_SCENE,
    FrameFile,
    MissingPolicy,
    collect,
    episode_jobs,
    make_clips,
)
from experiments.simulation.reward_episodes import (
    CLONED,
    HORIZON,
    RewardDataConfig,
    env_and_arm,
    play_episode,
)
from policies.policy import DiffusionPolicy, PolicyConfig
from reward_models.data.reward_data import RewardData
from roboreward_gym.errors import InvalidSetting
from robots.sim.mujoco_arm import MujocoArm
from robots.sim.tasks import look
from robots.widowx import WidowXEnv
from tests.fakes_workers import PoolInProcess

CONFIG = RewardDataConfig(Path("unused"))
CUT_SEED = 100_000_132
"""A noisy episode that succeeds and is also shown cut to three tenths."""


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reward_data, "worker_pool", PoolInProcess)


def env_of(split: str = "train") -> tuple[WidowXEnv, MujocoArm]:
    return env_and_arm(dataclasses.replace(CONFIG, split=split), "toy")


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    monkeypatch.setattr(reward_episodes, "HORIZON", dict.fromkeys(HORIZON, steps))


def assert_shows_the_present(picture: np.ndarray, before: np.ndarray) -> None:
    """The clip is rendered again from joint positions, a fraction of a physics step apart."""
    now = env_of()[1].camera().astype(int)
    assert np.abs(now - picture).mean() < 0.1
    assert np.abs(now - before).mean() > 0.5


def test_a_whole_clip_spans_its_episode() -> None:
    clip = make_clips(CONFIG, "toy", CUT_SEED)[0]
    frames, dense, meta = clip.frames, clip.dense, clip.meta
    assert frames.shape == (FRAMES, 192, 256, 3)
    assert frames.dtype == np.uint8
    assert (meta["frame_times_s"][0], meta["frame_times_s"][-1]) == (0.0, HORIZON["toy"] / 5)
    assert dense.shape == (FRAMES // 2, 7, 4)
    assert (meta["seed"], meta["split"], meta["kept"]) == (CUT_SEED, "train", 1.0)


def test_a_whole_clip_ends_with_the_final_state_and_its_truth() -> None:
    clip = make_clips(CONFIG, "toy", CUT_SEED)[0]
    frames, dense, meta, examples = clip.frames, clip.dense, clip.meta, clip.examples
    source, task, _ = play_episode(CONFIG, "toy", CUT_SEED)
    env, _ = env_of()
    assert_shows_the_present(frames[-1], before=frames[-2])
    np.testing.assert_array_equal(dense[-1], env.scene.landmarks())
    assert (meta["caption"], meta["source"]) == (env.scene.caption(), source)
    assert examples[0] == {"task": task, "level": 5, "kind": "organic"}
    assert [e["level"] for e in examples] == [env.level(e["task"]) for e in examples]


def test_a_cut_clip_tells_the_truth_at_the_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = make_clips(CONFIG, "toy", CUT_SEED)
    frames, dense, meta, examples = cut.frames, cut.dense, cut.meta, cut.examples
    assert meta["kept"] == 0.3
    steps = round(5 * meta["frame_times_s"][-1])
    assert steps == round(0.3 * (HORIZON["toy"] + 1)) - 1
    stop_after(monkeypatch, steps)  # the same episode, with no future that a label could come from
    play_episode(CONFIG, "toy", CUT_SEED)
    env, _ = env_of()
    assert_shows_the_present(frames[-1], before=whole.frames[-1])
    np.testing.assert_array_equal(dense[-1], env.scene.landmarks())
    assert meta["caption"] == env.scene.caption() != whole.meta["caption"]
    assert [e["level"] for e in examples] == [env.level(e["task"]) for e in examples]
    assert examples[0]["kind"] == "truncated"
    assert examples[0]["level"] < whole.examples[0]["level"] == 5


def test_counterfactuals_are_other_tasks_that_were_not_done_at_the_start() -> None:
    env, _ = env_and_arm(CONFIG, "drawer")
    numbers = set()
    for seed in range(150_000_000, 150_000_003):
        examples = make_clips(CONFIG, "drawer", seed)[0].examples
        own = play_episode(CONFIG, "drawer", seed)[1]
        askable = {task for task in env.tasks if env.scene.askable(task)}
        asked = [e["task"] for e in examples if e["kind"] == "counterfactual"]
        assert set(asked) <= askable - {own}
        assert len(set(asked)) == len(asked) == min(CONFIG.counterfactuals, len(askable - {own}))
        numbers.add(len(askable))
    assert min(numbers) < len(env.tasks)


def test_an_episode_follows_from_its_seed() -> None:
    first, again = (play_episode(CONFIG, "toy", seed) for seed in (CUT_SEED, CUT_SEED))
    other = play_episode(CONFIG, "toy", CUT_SEED + 1)
    assert first[:2] == again[:2]
    np.testing.assert_array_equal(first[2].qpos, again[2].qpos)
    assert (first[2].qpos[0] != other[2].qpos[0]).any()


def test_the_test_split_has_colours_that_training_never_has() -> None:
    def bands(split: str) -> set[int]:
        """Fifths of each hue band that the duck is painted with."""
        env, arm = env_of(split)
        hues = []
        for seed in range(12):
            env.reset(seed=seed)
            rgba = arm.model.geom("duck_head").rgba
            hues.append((_hue(rgba) - look.DUCK.low) / (look.DUCK.high - look.DUCK.low))
        return {int(h * 25 + 1e-4) % 5 for h in hues}

    assert bands("test") == {4}
    assert bands("train") | bands("validation") <= {0, 1, 2, 3}


def _hue(rgba: np.ndarray) -> float:
    return colorsys.rgb_to_hsv(*(float(v) for v in rgba[:3]))[0]


def test_no_seed_is_used_twice() -> None:
    ends = [
        episode_jobs(dataclasses.replace(CONFIG, split=split, first=first, episodes=2))
        for split in reward_data.SEED_OFFSET
        for first in (0, 49_999_998)
    ]
    seeds = [seed for jobs in ends for _, _, seed in jobs]
    assert len(set(seeds)) == len(seeds) == 3 * 2 * 2 * len(ENV_IDS)
    blocks = {seed // 50_000_000 for seed in seeds}
    assert len(blocks) == 3 * len(ENV_IDS)  # a block of its own for each split and scene
    others = [
        DemonstrationConfig(Path("unused"), episodes=100_000).seeds,
        TRAINING_SEEDS, EVALUATION_SEEDS, SHOWCASE_SEEDS,
    ]  # fmt: skip
    taken = sorted([(b * 50_000_000, (b + 1) * 50_000_000) for b in blocks]
                   + [(r.start, r.stop) for r in others])  # fmt: skip
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(taken))
    assert taken[-1][1] < 2**31


@pytest.mark.parametrize(
    ("first", "episodes"), [(SEEDS_PER_SCENE - 1, 2), (SEEDS_PER_SCENE, 1), (-1, 1)]
)
def test_seeds_of_another_split_or_scene_are_refused(
    tmp_path: Path, first: int, episodes: int
) -> None:
    with pytest.raises(InvalidSetting, match="another split or scene"):
        collect(RewardDataConfig(tmp_path / "data", first=first, episodes=episodes))
    assert not (tmp_path / "data").exists()


def test_cloned_policies_act_from_what_they_see(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    sizes = PolicyConfig(maps=2, vision_width=4, width=16, layers=1, heads=1, sample_steps=2)
    DiffusionPolicy(sizes).save(tmp_path)
    folders = (tmp_path, tmp_path)
    config = dataclasses.replace(CONFIG, policy=folders, half_trained=folders)
    stop_after(monkeypatch, 9)
    (source, task, truth), again = (play_episode(config, "toy", 7) for _ in range(2))
    assert source in CLONED
    assert task == "put the duck on the towel"
    assert len(truth.qpos) == 10
    assert np.ptp(truth.qpos[:, :6], axis=0).max() > 0.01
    np.testing.assert_array_equal(truth.qpos, again[2].qpos)


@pytest.mark.parametrize("given", [{"policy": 1}, {"policy": 2}, {"policy": 2, "half_trained": 1}])
def test_cloned_episodes_need_policies_of_both_scenes(
    tmp_path: Path, given: dict[str, int]
) -> None:
    folders = {name: (tmp_path,) * count for name, count in given.items()}
    with pytest.raises(MissingPolicy, match="one per scene"):
        collect(RewardDataConfig(tmp_path / "out", **folders))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("rows", [1, 12])
def test_a_frame_file_can_be_mapped(tmp_path: Path, rows: int) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (rows, 2, 3, 4, 3), np.uint8)
    with FrameFile(tmp_path / "frames.npy") as file:
        for picture in pictures:
            file.append(picture)
    mapped = np.load(tmp_path / "frames.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, pictures)


def test_rows_of_a_frame_file_have_one_shape(tmp_path: Path) -> None:
    with FrameFile(tmp_path / "frames.npy") as file:
        file.append(np.zeros((2, 3), np.uint8))
        with pytest.raises(ValueError, match=r"shape \(2, 3\), got \(3, 2\)"):
            file.append(np.zeros((3, 2), np.uint8))
    assert np.load(tmp_path / "frames.npy").shape == (1, 2, 3)


def test_the_reward_models_read_what_was_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(monkeypatch, 10)
    config = RewardDataConfig(tmp_path / "data", split="validation", episodes=2)
    collect(config)
    data = RewardData.open([config.out], "validation")
    expected = [labelled for job in episode_jobs(config) for labelled in make_clips(*job)]
    assert len(data.clips) == len(expected) >= 4
    for number, clip in enumerate(expected):
        np.testing.assert_array_equal(data.stored(number), clip.frames)
        np.testing.assert_allclose(data.dense[number], clip.dense, atol=1e-6)
        assert data.clips[number].episode == clip.meta["episode"]
        asked = [(e.task, e.level, e.kind) for e in data.examples if e.clip == number]
        assert asked == [(e["task"], e["level"], e["kind"]) for e in clip.examples]


def test_a_folder_that_was_not_finished_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_clips(CONFIG, "toy", CUT_SEED)
    episodes = [whole, whole]
    monkeypatch.setattr(reward_data, "make_clips", lambda *_: episodes.pop())
    config = RewardDataConfig(tmp_path / "data", episodes=2)  # of each scene
    with pytest.raises(IndexError):
        collect(config)
    assert len(np.load(config.out / "frames.npy", mmap_mode="r")) == 2 * len(whole)
    assert not (config.out / "clips.jsonl").exists()
    with pytest.raises(RunFolderError, match="is there already"):
        collect(config)
