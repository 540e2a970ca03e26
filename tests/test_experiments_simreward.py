"""SimReward: what is played, how it is shown and worded, and what lies on disk."""

import dataclasses
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tyro

from experiments.run_folder import RunFolderError
from experiments.simulation import behaviours, other_envs, simreward, simreward_episode
from experiments.simulation.behaviours import SHARES, Played, play_script
from experiments.simulation.demonstrations import ENV_IDS
from experiments.simulation.picture_shifts import PICTURE_SHIFTS, changed
from experiments.simulation.reward_episodes import RewardDataConfig, env_and_arm
from experiments.simulation.simreward import SEED_OFFSET, SEEDS, SimRewardConfig, make
from experiments.simulation.simreward_episode import (
    EpisodePlan,
    Recording,
    ask,
    choose_wording,
    draw_shifts,
)
from experiments.simulation.wordings import HELD_OUT, TASKS, held_out, seen, wordings
from policies.dsrl.config import DsrlConfig
from policies.dsrl.learner import Learner
from policies.policy import DiffusionPolicy, PolicyConfig
from reward_models.data import published, truth
from reward_models.data.example import Example, Frames, InvalidSource
from reward_models.data.published_writer import sha256
from reward_models.data.simulator import read_notes
from reward_models.data.sources import ReadOptions
from reward_models.data.splits import Membership
from roboreward_gym.errors import InvalidSetting
from robots.sim.tasks import look
from robots.sim.tasks.drawer import DrawerScene
from robots.sim.tasks.shifts import LOOK_SHIFTS, Shifted
from robots.sim.tasks.toy import ToyScene
from tests.fakes_workers import PoolInProcess
from tests.split_leaks import leaks

CONFIG = RewardDataConfig(Path("unused"))


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simreward, "worker_pool", PoolInProcess)


# --- what is played --------------------------------------------------------------------------------


def played(behaviour: behaviours.Behaviour, scene: str, seeds: range) -> list[Played]:
    env, _ = env_and_arm(CONFIG, scene)
    return [play_script(env, behaviour, seed) for seed in seeds]


@pytest.mark.parametrize("scene", ["toy", "drawer"])
def test_a_goal_that_was_true_and_given_up_has_a_level(scene: str) -> None:
    recordings = played("start_satisfied", scene, range(6))
    known = [f for f in recordings if f.task in f.levels]
    assert len(known) >= 4
    for recording in known:
        assert recording.task in recording.done_at_start
        assert min(recording.levels[recording.task]) <= 2  # it was given up
        assert (
            len(recording.levels[recording.task]) == len(recording.qpos) == len(recording.captions)
        )
    ends = {recording.levels[recording.task][-1] for recording in known}
    assert 5 in ends


def test_a_goal_that_was_true_all_the_time_is_not_asked_about() -> None:
    env, _ = env_and_arm(CONFIG, "drawer")
    for seed in range(4):
        recording = play_script(env, "random", seed)
        kept = [t for t in recording.done_at_start if t in recording.levels]
        assert recording.done_at_start
        assert not kept, "random motion opened or closed no drawer here"


def test_there_and_back_ends_where_it_began() -> None:
    for recording in played("there_and_back", "drawer", range(4)):
        levels = recording.levels[recording.task]
        assert max(levels) >= 4
        assert levels[-1] <= 2


def test_recovery_ends_well_after_it_failed() -> None:
    recordings = played("recovery", "drawer", range(4))
    assert sum(recording.levels[recording.task][-1] == 5 for recording in recordings) >= 3


def test_a_recording_that_runs_on_stays_a_success() -> None:
    (recording,) = played("run_on", "drawer", range(1))
    assert not recording.task.startswith("pick")
    levels = recording.levels[recording.task]
    assert levels[-1] == 5
    first = levels.index(5)
    assert (len(levels) - first) / 5 >= 24.0
    assert set(levels[first:]) == {5}


def test_shares_are_a_distribution() -> None:
    assert sum(SHARES.values()) == pytest.approx(1.0)


# --- how it is worded ------------------------------------------------------------------------------


def test_every_task_of_both_scenes_has_twelve_wordings_and_held_out_ones() -> None:
    assert set(TASKS) == {*ToyScene.tasks, *DrawerScene.tasks}
    known = {word for task in TASKS for words in (task, *seen(task)) for word in words.split()}
    for task in TASKS:
        assert len(set(seen(task))) >= 12
        assert {word for words in held_out(task) for word in words.split()} <= known
        assert len(held_out(task)) == HELD_OUT >= 2
        assert not set(seen(task)) & set(held_out(task))
    everything = [w for task in TASKS for w in (task, *wordings(task))]
    assert len(set(everything)) == len(everything), "two tasks share words"


def test_training_never_sees_held_out_words() -> None:
    rng = np.random.default_rng(0)
    for task in TASKS:
        words = {choose_wording(task, "train", rng) for _ in range(60)}
        assert not {w for w, _ in words} & set(held_out(task))
        assert {kind for _, kind in words} == {"canonical", "seen"}
        assert {kind for _, kind in (choose_wording(task, "test", rng) for _ in range(40))} == {
            "canonical",
            "seen",
            "held_out",
        }


# --- how it is shown -------------------------------------------------------------------------------


def picture(scene: str, names: tuple[str, ...], split: str = "train") -> np.ndarray:
    env, arm = env_and_arm(CONFIG, scene)
    shifted = Shifted(arm.model, arm.data)
    env.reset(seed=5)
    shifted.lay_on(names, np.random.default_rng(0), split)  # ty: ignore[invalid-argument-type]
    shown = arm.camera().astype(int)
    shifted.take_off()
    return shown


@pytest.mark.parametrize("name", LOOK_SHIFTS)
def test_a_shift_of_looks_is_seen_and_taken_off_again(name: str) -> None:
    for scene in ("toy", "drawer"):
        plain = picture(scene, ())
        assert np.abs(picture(scene, (name,)) - plain).mean() > 0.05
        np.testing.assert_array_equal(picture(scene, ()), plain)


@pytest.mark.parametrize("name", LOOK_SHIFTS)
def test_tests_have_parts_of_each_range_of_their_own(name: str) -> None:
    train, test = (picture("toy", (name,), split) for split in ("train", "test"))
    assert (train != test).any()


def test_cameras_move_by_twelve_centimetres_and_lenses_differ() -> None:
    env, arm = env_and_arm(CONFIG, "toy")
    env.reset(seed=5)
    front = arm.model.camera("front").id
    offsets, angles = [], []
    for seed in range(150):
        for split in ("train", "test"):
            LOOK_SHIFTS["camera"](arm.model, arm.data, np.random.default_rng(seed), split)
            LOOK_SHIFTS["field_of_view"](arm.model, arm.data, np.random.default_rng(seed), split)
            offsets.append(arm.model.cam_pos[front] - look.CAMERA_FROM)
            angles.append(arm.model.cam_fovy[front])
    for ends, expected in ((np.min(offsets, 0), -0.12), (np.max(offsets, 0), 0.12)):
        np.testing.assert_allclose(ends, expected, atol=0.01)
    assert np.abs(offsets).max() <= 0.12
    assert 36.0 <= min(angles) < 36.5
    assert 49.5 < max(angles) <= 50.0


@pytest.mark.parametrize("name", PICTURE_SHIFTS)
def test_a_shift_of_pictures_keeps_what_they_show(name: str) -> None:
    plain = picture("toy", ()).astype(np.uint8)[None]
    shown = changed(plain, (name,), np.random.default_rng(0))  # ty: ignore[invalid-argument-type]
    assert shown.shape == plain.shape
    assert shown.dtype == np.uint8
    assert (shown != plain).any()
    assert np.corrcoef(shown.ravel(), plain.ravel())[0, 1] > 0.8


def test_recordings_have_no_one_or_several_shifts() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_shifts(rng) for _ in range(400)]
    counts = np.bincount([len(names) for names in drawn], minlength=5) / len(drawn)
    assert 0.3 < counts[0] < 0.5
    assert 0.35 < counts[1] < 0.55
    assert 0.08 < counts[2:].sum() < 0.25
    assert {name for names in drawn for name in names} == {*LOOK_SHIFTS, *PICTURE_SHIFTS}


def test_recordings_of_other_environments_have_no_reward() -> None:
    pytest.importorskip("pygame")
    rng = np.random.default_rng(0)
    name, frames = other_envs.record("test", rng)
    assert name in other_envs.TEST
    assert not set(other_envs.TEST) & set(other_envs.TRAIN)
    assert len(frames.frames) >= other_envs.SHORTEST
    recording = Recording("other_envs", "x", frames, (), "other_envs")
    questions = list(ask(EpisodePlan(Path(), "test", 0), recording, rng))
    assert [q.reward for q in questions] == [None, None]


# --- what lies on disk -----------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings of a drawer that a hand goes past, painted in no time."""

    def recording(plan: EpisodePlan, rng: np.random.Generator) -> Recording:
        shade = {"train": 0, "val": 60, "test": 120}[plan.split]
        if plan.seed % 5 == 4:
            frames = Frames(np.full((9, 32, 48, 3), shade + plan.seed % 60, np.uint8), 10.0)
            return Recording("other_envs", f"x-{plan.split}-{plan.seed}", frames, (), "other_envs")
        levels: Mapping[str, list[int]] = {
            "open the left drawer": [1] * 10 + [5] * 10,
            "close the left drawer": [1] * 20,
            "pick up the duck": [1] * 20,
        }
        done = ("close the left drawer",)
        about = Played("expert", "open the left drawer", np.zeros((20, 3)), levels, ["still"] * 20, done)  # fmt: skip
        frames = np.arange(shade, shade + 20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 48, 3), np.uint8)  # fmt: skip
        episode = f"drawer-{plan.split}-{plan.seed}"
        return Recording("sim_drawer", episode, Frames(frames, 5.0), ("camera",), "expert", about)

    monkeypatch.setattr(simreward_episode, "record", recording)


def config(out: Path, **more: object) -> SimRewardConfig:
    sizes = dataclasses.replace(SimRewardConfig(out).video, width=48, height=32)
    return SimRewardConfig(out, **{"train": 8, "val": 2, "test": 5, "video": sizes, **more})  # ty: ignore[invalid-argument-type]


def everything(root: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()
    }


@pytest.mark.usefixtures("quick")
def test_the_set_is_read_back_with_its_notes(tmp_path: Path) -> None:
    out = tmp_path / "set"
    make(config(out))
    truths = truth.read_truths(out)
    found = 0
    for split in ("train", "val", "test"):
        notes = read_notes(out / split)
        for item in published.read(out / split, ReadOptions()):
            assert isinstance(item, Example)
            note = notes[f"{item.subset}/{Path(item.video.where).name}"]
            frames = item.video.read().frames
            assert len(frames) == note.frames
            assert item.task in (note.meaning, *wordings(note.meaning))
            if item.reward is None:
                assert item.subset == "other_envs"
                continue
            levels = truths[item.source_episode].levels[note.meaning]
            assert item.reward == levels[note.frames - 1]
            assert note.done_at_start == (note.meaning == "close the left drawer")
            assert note.shifts == ("camera",)
            found += 1
    assert found > 20
    data_card = (out / "README.md").read_text()
    assert "other environments" in data_card
    assert "Seeds: 600000000 and up for the episodes of train, 650000000 and up" in data_card
    assert not list(out.rglob("*.partial"))


@pytest.mark.usefixtures("quick")
def test_a_set_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(config(tmp_path / "whole"))
    write, left = simreward_episode.write_episode, [6]

    def until(plan: EpisodePlan) -> simreward_episode.Written:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return write(plan)

    monkeypatch.setattr(simreward, "write_episode", until)
    out = tmp_path / "again"
    for more in (6, 99):
        left[0] = more
        if more == 6:
            with pytest.raises(KeyboardInterrupt):
                make(config(out))
        else:
            make(config(out))
    assert everything(out) == everything(tmp_path / "whole")


def test_no_recording_is_in_two_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def recording(plan: EpisodePlan, rng: np.random.Generator) -> Recording:
        # As short recordings of other environments can be equal by chance.
        shade = plan.seed % 3 * 50
        frames = Frames(np.full((9, 32, 48, 3), shade + 5 * (plan.split == "test"), np.uint8), 10.0)
        return Recording("other_envs", f"x-{plan.split}-{plan.seed}", frames, (), "other_envs")

    monkeypatch.setattr(simreward_episode, "record", recording)
    out = tmp_path / "set"
    for _ in range(2):  # the second time nothing is left to make
        make(config(out, train=2, val=3, test=2))
        members, splits = [], []
        for split in ("train", "val", "test"):
            for item in published.read(out / split, ReadOptions()):
                assert isinstance(item, Example)
                assert item.video.file is not None
                members.append(
                    Membership(item.subset, item.source_episode, sha256(item.video.file))
                )
                splits.append(split)
        assert leaks(members, splits) == []
        assert len({m.source_episode for m in members}) == 5
        assert len(list(out.rglob("*.mp4"))) == len(members)
    assert "episode_of_another_split 2" in (out / "README.md").read_text()


@pytest.mark.usefixtures("quick")
def test_notes_that_have_a_video_twice_are_refused(tmp_path: Path) -> None:
    make(config(tmp_path / "set", train=1, val=0, test=0))
    path = tmp_path / "set/train/simulator.jsonl"
    path.write_text(2 * path.read_text())
    with pytest.raises(InvalidSource, match="one line for each file_name"):
        read_notes(tmp_path / "set/train")


@pytest.mark.usefixtures("quick")
def test_another_configuration_is_refused(tmp_path: Path) -> None:
    make(config(tmp_path / "set", train=1, val=0, test=0))
    with pytest.raises(RunFolderError, match="another config"):
        make(config(tmp_path / "set", train=2, val=0, test=0))


def test_splits_share_no_seed() -> None:
    starts = sorted(SEED_OFFSET.values())
    assert all(b - a == SEEDS for a, b in itertools.pairwise(starts))
    plans = [
        p
        for split in SEED_OFFSET
        for p in SimRewardConfig(Path(), train=3, val=3, test=3).plans(split)  # ty: ignore[invalid-argument-type]
    ]
    assert len({p.seed for p in plans}) == 9
    with pytest.raises(InvalidSetting, match="another split"):
        SimRewardConfig(Path(), first=SEEDS)


@pytest.mark.parametrize("algorithm", ["none", "best_of_n", "sac"])
def test_a_policy_acts_in_its_share_of_recordings(tmp_path: Path, algorithm: Any) -> None:
    torch.manual_seed(0)
    sizes = PolicyConfig(maps=2, vision_width=4, width=16, layers=1, heads=1, sample_steps=2)
    policy = DiffusionPolicy(sizes)
    policy.save(tmp_path / "policy")
    noise = tmp_path / "noise.safetensors"
    tuned = noise if algorithm != "none" else None
    if tuned is not None:
        Learner(DsrlConfig(algorithm=algorithm), policy).final.save(noise)
    arguments = f"--out {tmp_path / 'set'} --train 0 --val 0 --test 1 --on-policy 1 --other-envs 0"
    policies = f"--toy-policy {tmp_path / 'policy'} --drawer-policy {tmp_path / 'policy'}"
    options = f"{arguments} {policies} --toy-noise-policy {tuned} --drawer-noise-policy {tuned}"
    make(tyro.cli(SimRewardConfig, args=options.split()))
    notes = read_notes(tmp_path / "set/test").values()
    assert {note.behaviour for note in notes} == {"on_policy"}
    assert max(note.frames for note in notes) in (25, 41)
    with pytest.raises(InvalidSetting, match="Name its folder"):
        SimRewardConfig(tmp_path, toy_policy=None)


def test_by_default_the_shipped_fine_tuned_policies_act_in_some_recordings(tmp_path: Path) -> None:
    for learned, env_id in zip(
        SimRewardConfig(tmp_path).plans("train")[0].policies, ENV_IDS.values(), strict=True
    ):
        assert learned is not None
        assert learned.noise_policy is not None
        recording = behaviours.play_policy(env_id, learned, "train", 600_000_101)
        assert recording.behaviour == "on_policy"
        assert recording.levels[recording.task][-1] == 5
        base = dataclasses.replace(learned, noise_policy=None)
        untuned = behaviours.play_policy(env_id, base, "train", 600_000_101)
        assert not np.array_equal(recording.qpos, untuned.qpos)


def test_one_real_episode_follows_from_its_seed(tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        plan = EpisodePlan(tmp_path / name, "test", SEED_OFFSET["test"] + 3)
        written.append(simreward_episode.write_episode(plan))
    assert json.dumps(dataclasses.asdict(written[0])) == json.dumps(dataclasses.asdict(written[1]))
    assert everything(tmp_path / "a") == everything(tmp_path / "b")
    assert len(everything(tmp_path / "a")) == len(written[0].rows) >= 2
