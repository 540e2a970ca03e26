"""A checkpoint that knows the world of its training abstains elsewhere, and nowhere without the file."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from reward_models.data.reward_data import InvalidData, RewardData
from reward_models.nano.familiarity import (
    FamiliarityConfig,
    fit_familiarity,
    fitted,
)
from reward_models.protocol.frames import SampledClip
from reward_models.qwen3vl.familiarity import FILE, Familiarity, describe, known_words
from reward_models.qwen3vl.roboreward import Decode, RoboReward
from roboreward_gym import Clip
from roboreward_gym.errors import InvalidSetting, RewardModelFailure, WeightsError
from roboreward_gym.scorer import Scorer
from tests.reward_folder import write_reward_folder
from tests.tiny_vlm import write_tiny_checkpoint

SIZE = (64, 96)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RewardData:
    root = tmp_path_factory.mktemp("data")
    return RewardData.open([write_reward_folder(root / "train", 60, size=SIZE)], "train")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint with the file of a small world."""
    root = tmp_path_factory.mktemp("tiny")
    checkpoint = write_tiny_checkpoint(root / "model")
    data = write_reward_folder(root / "train", 60, size=SIZE)
    fit_familiarity(FamiliarityConfig(checkpoint, (data,), clips=60, threads=1))
    return checkpoint


@pytest.fixture(scope="module")
def model(folder: Path) -> RoboReward:
    return RoboReward(folder, device="cpu", off_format_limit=1.0)


def other_world(task: str = "put the red one on the towel") -> Clip:
    """Stripes that move."""
    x = np.arange(SIZE[1])
    rows = [np.where((x + 4 * t) // 6 % 2, 255, 0) for t in range(8)]
    frames = np.repeat(np.stack(rows)[:, None, :, None], SIZE[0], 1).repeat(3, 3)
    return Clip(frames.astype(np.uint8), task, 2.0)


def test_its_own_world_is_answered(model: RoboReward, tmp_path: Path) -> None:
    """Another seed of the same kind of scenes."""
    folder = write_reward_folder(tmp_path / "test", 40, split="test", size=SIZE, seed=1000)
    data = RewardData.open([folder], "test")
    scores = model.score([data.clip(e.clip, e.task) for e in data.examples])
    assert sum(score.level is None for score in scores) <= 2
    assert all("familiarity" in score.manifest for score in scores)


def test_pictures_of_another_world_get_no_level(model: RoboReward) -> None:
    (score,) = model.score([other_world()])
    assert score.level is None
    assert score.probabilities is None
    assert "unlike those of its training" in score.text
    about = score.manifest["familiarity"]
    assert about["video_distance"] > about["video_distance_limit"]


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("把鸭子放在毛巾上", "words"),
        ("asdf qwer", "asdf, qwer"),
        ("put the carrot on the towel", "carrot"),
        ("towel the on red one put", "not this order"),
        ("!?", "no words at all"),
    ],
)
def test_tasks_of_another_world_get_no_level(
    model: RoboReward, data: RewardData, task: str, said: str
) -> None:
    (score,) = model.score([data.clip(0, task)])
    assert score.level is None
    assert said in score.text


@pytest.mark.parametrize(
    "task", ["Put the red one on the towel.", "PUT THE BLUE ONE ON THE TOWEL", " put the green one on the towel! "]
)  # fmt: skip
def test_case_and_punctuation_are_no_other_words(
    model: RoboReward, data: RewardData, task: str
) -> None:
    (score,) = model.score([data.clip(0, task)])
    assert score.level is not None


def test_a_new_wording_of_known_phrases_is_answered(model: RoboReward, data: RewardData) -> None:
    (score,) = model.score([data.clip(0, "put on the towel the red one")])
    assert score.level is not None


def test_other_scores_are_bit_exact_with_and_without_the_file(
    folder: Path, model: RoboReward, data: RewardData, tmp_path: Path
) -> None:
    bare = Path(shutil.copytree(folder, tmp_path / "bare"))
    (bare / FILE).unlink()
    without = RoboReward(bare, device="cpu", off_format_limit=1.0)
    never = RoboReward(folder, device="cpu", off_format_limit=1.0, abstain=False)
    clips = [data.clip(clip, "put the red one on the towel") for clip in range(4)]
    for scores in zip(*(m.score(clips) for m in (model, without, never)), strict=True):
        assert len({(s.level, s.off_format, s.probabilities.tobytes()) for s in scores}) == 1
    assert never.score([other_world()])[0].level is not None
    assert "familiarity" not in without.score(clips)[0].manifest


@pytest.mark.parametrize("decode", ["text", "published"])
def test_replies_of_another_world_get_no_level(
    folder: Path, data: RewardData, monkeypatch: pytest.MonkeyPatch, decode: Decode
) -> None:
    model = RoboReward(folder, device="cpu", decode=decode)
    monkeypatch.setattr(model, "_replies", lambda inputs: ["ANSWER: 5"] * len(inputs["input_ids"]))
    known = data.clip(0, "put the red one on the towel")
    scores = model.score([known, data.clip(0, "fly to the moon"), other_world()])
    assert [score.level for score in scores] == [5, None, None]
    assert "abstains" in scores[1].text
    assert "unlike those of its training" in scores[2].text
    model.abstain = False
    assert [score.level for score in model.score([known, other_world()])] == [5, 5]


def test_a_question_that_is_refused_follows_the_policy_for_failures(model: RoboReward) -> None:
    (result,) = Scorer(model).submit([other_world()]).result()
    assert isinstance(result, RewardModelFailure)
    assert "abstains" in str(result)
    (result,) = Scorer(model, "nan").submit([other_world()]).result()
    assert getattr(result, "level", 0) is None


def test_the_file_is_the_same_after_a_round_trip(folder: Path, tmp_path: Path) -> None:
    found = Familiarity.beside(folder)
    assert found is not None
    found.save(tmp_path)
    again = Familiarity.beside(tmp_path)
    assert again is not None
    assert (again.words, again.limit) == (found.words, found.limit)
    tokens = torch.randn(12, found.mean.numel() // 2, generator=torch.Generator().manual_seed(0))
    assert again.distance(tokens) == found.distance(tokens)
    assert Familiarity.beside(tmp_path / "nowhere") is None


def test_a_corrupt_file_is_an_error(folder: Path, tmp_path: Path) -> None:
    for content in ({}, {"familiarity": "no json"}, {"familiarity": json.dumps({"words": []})}):
        save_file({"mean": torch.zeros(2), "whitening": torch.eye(2)}, tmp_path / FILE, content)
        with pytest.raises(WeightsError, match="corrupt"):
            Familiarity.beside(tmp_path)
    (tmp_path / FILE).write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="corrupt"):
        Familiarity.beside(tmp_path)


def test_wordings_of_the_validation_split_set_the_limits_of_words(tmp_path: Path) -> None:
    train = write_reward_folder(tmp_path / "train", 40, size=SIZE)
    held_out = write_reward_folder(tmp_path / "v", 20, split="validation", size=SIZE, seed=500)
    rows = [json.loads(line) for line in (held_out / "examples.jsonl").read_text().splitlines()]
    for row in rows[::2]:
        row["task"] = row["task"].replace("put", "place")
    (held_out / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    checkpoint = write_tiny_checkpoint(tmp_path / "model")
    found = fit_familiarity(FamiliarityConfig(checkpoint, (train, held_out), clips=40, threads=1))
    assert found.words.refuses("place the red one on the towel") == ""
    assert found.words.refuses("leg die Ente auf das Handtuch")


def test_training_is_looked_at_in_all_sizes_and_lengths_and_the_limit_read_off_usual_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = write_reward_folder(tmp_path / "train", 12, size=SIZE)
    held_out = write_reward_folder(tmp_path / "v", 6, split="validation", size=SIZE, seed=500)
    checkpoint = write_tiny_checkpoint(tmp_path / "model")
    seen: list[tuple[int, ...]] = []
    look = RoboReward.video_tokens

    def noted(self: RoboReward, clips: Sequence[SampledClip]) -> list[torch.Tensor]:
        seen.extend(clip.frames.shape[:3] for clip in clips)
        return look(self, clips)

    monkeypatch.setattr(RoboReward, "video_tokens", noted)
    fit_familiarity(FamiliarityConfig(checkpoint, (train, held_out), clips=12, threads=1))
    usual = (8, *SIZE)
    shown = [usual] * 8 + [(8, 32, 48), (4, 64, 96), (8, 128, 192), (4, 128, 192)]
    assert seen[:12] == shown
    assert set(seen[12:]) == {usual}


def test_one_strange_video_of_home_does_not_set_the_limit() -> None:
    words = known_words(["open the drawer"], 0.0, 1.0)
    train, known = np.random.default_rng(0).normal(size=(2, 200, 4))
    usual = fitted(words, list(train), list(known)).limit
    known[0] *= 100
    assert fitted(words, list(train), list(known)).limit < 1.1 * usual


def test_data_without_a_training_split_is_refused(tmp_path: Path) -> None:
    folder = write_reward_folder(tmp_path / "test", 4, split="test", size=SIZE)
    with pytest.raises(InvalidData, match="no clip of the split 'train'"):
        fit_familiarity(FamiliarityConfig(tmp_path, (folder,)))
    with pytest.raises(InvalidSetting, match="kept"):
        FamiliarityConfig(tmp_path, (folder,), kept=0.1)


def test_shares_of_words_equal_those_by_hand() -> None:
    words = known_words(["open the drawer", "close the box"], 0.0, 1.0)
    assert words.shares("Open the box") == (0.0, 1.0)  # every neighbour occurs in one of the two
    assert words.shares("open a drawer") == (1 / 3, 2 / 4)
    assert words.shares("") == (1.0, 0.0)


def test_a_video_is_described_by_mean_and_spread() -> None:
    tokens = torch.tensor([[0.0, 2.0], [2.0, 2.0]])
    expected = [1.0, 2.0, np.log(np.sqrt(2.0)), np.log(1e-3)]
    np.testing.assert_allclose(describe(tokens).numpy(), expected, rtol=1e-5)
