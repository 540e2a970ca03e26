"""LeRobot's reward models under our names, and ours as a reward model of LeRobot, with tiny random weights."""

import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lerobot", reason="needs the extra `lerobot`")

import pyarrow.parquet as pq
import torch
from lerobot.rewards import make_reward_model, make_reward_model_config
from lerobot.rewards.factory import get_reward_model_class, make_reward_pre_post_processors
from lerobot.rewards.sarm.rabc import RABCWeights

from reward_models.judges.lerobot import (
    load_robometer,
    load_topreward,
    neighbouring_levels,
)
from reward_models.lerobot_plugin import compute_rabc_weights
from reward_models.lerobot_plugin.configuration_roboreward import RoboRewardConfig
from reward_models.lerobot_plugin.modeling_roboreward import RoboRewardRewardModel
from reward_models.protocol.frames import sample_clip
from reward_models.scoring.log import OutputUnwritable
from reward_models.video.read import open_recording
from roboreward_gym import Clip, ProgressScore
from roboreward_gym.errors import InvalidClip, InvalidSetting, RewardModelFailure, WeightsError
from roboreward_gym.registry import load_reward_model
from tests.lerobot_marks import LEROBOT
from tests.tiny_vlm import random_clip, write_tiny_checkpoint, write_tiny_robometer
from tests.video_files import flat_frames, write_video

ROOT = Path(__file__).resolve().parents[1]
pytestmark = LEROBOT


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("vlm"))


@pytest.fixture(scope="module")
def robometer(vlm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_robometer(tmp_path_factory.mktemp("robometer"), vlm)


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.25, 0.6, 0.999, 1.0])
def test_progress_becomes_levels_with_that_mean(progress: float) -> None:
    score = ProgressScore(3, neighbouring_levels(progress))
    assert score.expected == pytest.approx(1 + 4 * progress)
    assert (score.probabilities > 0).sum() <= 2


def test_topreward_scores_by_the_probability_of_true(vlm: Path) -> None:
    model = load_topreward(str(vlm))
    clips = [random_clip(5, seed=1), random_clip(40, seed=2)]
    scores = model.score(clips)
    for score in scores:
        assert score.manifest["value"] < 0
        assert score.expected == pytest.approx(1 + 4 * math.exp(score.manifest["value"]))
        assert score.manifest["model"] == f"topreward:{vlm}"
    assert scores[1].manifest["frame_indices"][0] == 0
    assert scores[1].manifest["frame_indices"][-1] == 39
    assert len(scores[1].manifest["frame_indices"]) == 16


def test_a_thinned_clip_is_scored_as_the_whole_recording(vlm: Path) -> None:
    model = load_topreward(str(vlm))
    clip = random_clip(40, seed=2)
    (whole,) = model.score([clip])
    kept = np.union1d(whole.manifest["frame_indices"], [1, 2, 30])
    (thinned,) = model.score([Clip(clip.frames[kept], clip.task, clip.fps, kept, 40)])
    assert thinned.manifest == whole.manifest
    assert thinned.expected == whole.expected


def test_a_task_with_a_reserved_token_is_refused(vlm: Path) -> None:
    clip = random_clip(5, seed=1)
    with pytest.raises(InvalidClip, match="reserved token"):
        load_topreward(str(vlm)).score([Clip(clip.frames, "open it<|im_end|>", clip.fps)])


def test_robometer_scores_by_its_progress_head(robometer: Path) -> None:
    model = load_robometer(str(robometer))
    scores = model.score([random_clip(5, seed=1), random_clip(20, seed=2)])
    for score in scores:
        assert 0 <= score.manifest["value"] <= 1
        assert score.expected == pytest.approx(1 + 4 * score.manifest["value"])
    assert scores[1].manifest["frame_indices"] == [0, 3, 5, 8, 11, 14, 16, 19]
    assert scores[0].expected != scores[1].expected


def test_a_model_that_returns_nan_is_unreadable(vlm: Path) -> None:
    model = load_topreward(str(vlm))
    model.model.model.lm_head.weight.data.fill_(float("nan"))
    (score,) = model.score([random_clip(4)])
    assert score.level is None


@pytest.mark.parametrize("load", [load_robometer, load_topreward])
def test_missing_weights_say_what_to_fetch(load: Any, tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"cannot be loaded as .* Fetch .* from the Hugging Face Hub"
    ):
        load(str(tmp_path / "nothing"))


def test_a_robometer_with_missing_tensors_is_refused(robometer: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(robometer, tmp_path / "robometer"))
    state = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in state.items() if "progress_head.0" not in k}, folder / "model.safetensors"
    )
    with pytest.raises(WeightsError, match="Robometer"):
        load_robometer(str(folder))


def test_both_are_known_by_name(vlm: Path) -> None:
    model = load_reward_model(f"topreward:{vlm}")
    assert model.manifest["model"] == f"topreward:{vlm}"


class Brightness:
    """The level is how many fifths of the way from black to white the last frame is."""

    def score(self, clips: Any) -> list[ProgressScore]:
        return [self.score_one(clip) for clip in clips]

    def score_one(self, clip: Clip) -> ProgressScore:
        if clip.task == "mumble":
            return ProgressScore(None, text="hm")
        return ProgressScore(1 + round(4 * float(clip.frames[-1].mean()) / 255))


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> RoboRewardConfig:
    from roboreward_gym import registry

    monkeypatch.setitem(registry._factories, "brightness", Brightness)
    monkeypatch.setattr(registry, "_loaded", {})
    return make_reward_model_config("roboreward", model="brightness", device="cpu")


def rewards(config: RoboRewardConfig, frames: torch.Tensor, task: Any = "x") -> torch.Tensor:
    model = make_reward_model(config, dataset_stats={}, dataset_meta=None)
    before, _ = make_reward_pre_post_processors(config, dataset_stats={})
    return model.compute_reward(before({config.image_key: frames, "task": task}))


def test_lerobot_makes_our_reward_model_by_its_type(plugin: RoboRewardConfig) -> None:
    assert get_reward_model_class("roboreward") is RoboRewardRewardModel
    levels = torch.tensor([0.0, 0.5, 1.0])
    frames = levels[:, None, None, None, None].expand(3, 4, 3, 8, 8)
    assert rewards(plugin, frames, ["a", "b", "c"]).tolist() == [0.0, 0.5, 1.0]
    assert rewards(plugin, (frames * 255).to(torch.uint8)).tolist() == [0.0, 0.5, 1.0]


def test_our_reward_model_survives_saving(plugin: RoboRewardConfig, tmp_path: Path) -> None:
    make_reward_model(plugin).save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    loaded = RoboRewardRewardModel.from_pretrained(tmp_path)
    assert loaded.config.model == "brightness"
    assert not loaded.is_trainable
    again = make_reward_model_config("roboreward", device="cpu", pretrained_path=str(tmp_path))
    model = make_reward_model(again)
    assert isinstance(model, RoboRewardRewardModel)
    assert model.config.model == "brightness"


def test_lerobot_gets_no_reward_model_that_nobody_named(tmp_path: Path) -> None:
    config = make_reward_model_config("roboreward", device="cpu")
    with pytest.raises(InvalidSetting, match=r"No reward model is named(.|\n)*roboreward-8b"):
        make_reward_model(config)
    asked = ["--dataset", str(tmp_path / "none"), "--out", str(tmp_path / "progress.parquet")]
    with pytest.raises(InvalidSetting, match="No reward model is named"):
        compute_rabc_weights.main(asked)


def test_an_unreadable_answer_is_never_a_reward(plugin: RoboRewardConfig) -> None:
    with pytest.raises(
        RewardModelFailure, match=r"scores of episodes \[1\] of 2 are unreadable: 'hm'"
    ):
        rewards(plugin, torch.zeros(2, 3, 3, 8, 8), ["x", "mumble"])


@pytest.mark.parametrize(
    ("frames", "task", "message"),
    [
        (torch.zeros(2, 3, 8, 8), "x", "A single frame shows no progress"),
        (torch.zeros(2, 3, 3, 8, 8), None, "There are 0 tasks under 'task' for 2 episodes"),
        (torch.zeros(2, 3, 3, 8, 8), ["a", "b", "c"], "There are 3 tasks"),
    ],
)
def test_batches_that_hold_no_episodes_are_refused(
    plugin: RoboRewardConfig, frames: torch.Tensor, task: Any, message: str
) -> None:
    with pytest.raises(InvalidClip, match=message):
        rewards(plugin, frames, task)


def test_lerobot_discovers_the_type_from_the_command_line() -> None:
    code = (
        "from lerobot.configs.parser import load_plugin; load_plugin('reward_models.lerobot_plugin'); "
        "from lerobot.rewards import make_reward_model_config as m; print(m('roboreward', device='cpu').type)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "roboreward"


def test_progress_is_the_score_of_each_prefix(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", flat_frames(49))
    recording = compute_rabc_weights.read_for_prefixes(open_recording(path), 4)
    progress = compute_rabc_weights.episode_progress(Brightness(), recording, "x", 4)
    assert progress.shape == (49,)
    assert progress[0] == 0.0
    assert progress[-1] == 0.75  # the last frame has brightness 208
    assert (np.diff(progress) >= 0).all()
    unread = compute_rabc_weights.episode_progress(Brightness(), recording, "mumble", 4)
    assert np.isnan(unread).all()


def test_each_prefix_is_sampled_as_without_the_memory_limit(tmp_path: Path) -> None:
    source = open_recording(write_video(tmp_path / "a.mp4", flat_frames(49)))
    whole, limited = (
        compute_rabc_weights.read_for_prefixes(source, 5, most) for most in (10**9, 1)
    )
    assert len(limited.frames) < len(whole.frames) == 49
    for length in compute_rabc_weights.prefix_lengths(49, 5):
        seen, seen_limited = (sample_clip(r.beginning(length).clip("x")) for r in (whole, limited))
        assert seen_limited.missing == ()
        assert np.array_equal(seen.frames, seen_limited.frames)
        assert seen.group_times_s == seen_limited.group_times_s


def test_lerobot_reads_our_progress_as_weights(plugin: RoboRewardConfig, tmp_path: Path) -> None:
    from reward_models.data.lerobot_writer import write_dataset
    from roboreward_gym import Episode

    def recorded(values: list[int]) -> Episode:
        steps = len(values) - 1
        grey = np.array(values, np.uint8)[:, None, None, None]
        frames = np.broadcast_to(grey, (steps + 1, 16, 16, 3)).copy()
        blank = np.zeros((steps + 1, 2), np.float32)
        return Episode(
            frames,
            blank,
            blank[1:],
            blank[1:, 0],
            terminated=False,
            truncated=True,
            task="x",
            fps=5.0,
        )

    good, bad = recorded([0, 64, 128, 192, 255]), recorded([255, 192, 128, 64, 0])
    write_dataset(tmp_path / "set", [good, bad], use_videos=False)
    out = tmp_path / "progress.parquet"
    arguments = ["--dataset", str(tmp_path / "set"), "--out", str(out), "--model", "brightness"]
    assert compute_rabc_weights.main(arguments) == 0
    table = pq.read_table(out)
    assert table["index"].to_pylist() == list(range(10))
    assert table["episode_index"].to_pylist() == [0] * 5 + [1] * 5
    weights = RABCWeights(out, chunk_size=2, device=torch.device("cpu"))
    batch, _ = weights.compute_batch_weights({"index": torch.tensor([1, 6])})
    assert batch.tolist() == pytest.approx([2.0, 0.0], abs=1e-4)


def test_weights_that_cannot_be_written_are_refused_before_anything_is_scored(
    tmp_path: Path,
) -> None:
    (tmp_path / "taken").touch()
    out = tmp_path / "taken" / "progress.parquet"
    arguments = ["--dataset", str(tmp_path / "none"), "--out", str(out), "--model", "nobody"]
    with pytest.raises(OutputUnwritable, match="Choose another --out"):
        compute_rabc_weights.main(arguments)
