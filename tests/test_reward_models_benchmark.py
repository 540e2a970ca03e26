import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from reward_models import nano
from reward_models.bench.benchmark import BenchmarkConfig, load_judge, measure, run
from reward_models.data.reward_data import RewardData
from reward_models.judges.null import ConstantReward
from roboreward_gym import Clip, ProgressScore, RewardModel
from roboreward_gym.errors import InvalidScore, UnknownName, WeightsError
from tests.reward_folder import write_reward_folder
from tests.tiny_vlm import random_clip, write_tiny_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    return write_reward_folder(root / "test", 5, split="test", size=(32, 64))


class Oracle:
    """Looks the truth up, and checks that it is asked clip by clip in order."""

    def __init__(self, data: RewardData) -> None:
        self._answers = iter(data.examples)

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        scores = []
        for clip in clips:
            example = next(self._answers)
            assert clip.task == example.task
            scores.append(ProgressScore(level=example.level))
        return scores


def test_a_judge_that_knows_the_truth_makes_no_error(folder: Path) -> None:
    data = RewardData.open([folder], "test")
    numbers = measure(Oracle(data), data, batch_size=3)
    assert numbers["macro_mae"] == 0.0
    assert numbers["exact"] == 1.0
    assert numbers["episodes"] == 5
    assert numbers["examples"] == 10


def test_always_three_equals_its_baseline(folder: Path) -> None:
    numbers = measure(ConstantReward(3), RewardData.open([folder], "test"))
    assert numbers["macro_mae"] == numbers["always_three_macro_mae"]
    assert numbers["false_positive_rate"] == 0.0


def test_a_checkpoint_folder_is_measured_from_pixels(folder: Path, tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    out = tmp_path / "numbers" / "tiny.json"
    run(
        BenchmarkConfig(
            model=str(checkpoint),
            data=(folder,),
            out=out,
            no_negatives=checkpoint,
            limit=2,
            threads=1,
        )
    )
    numbers = json.loads(out.read_text())
    assert numbers["model"] == "tiny"
    assert numbers["examples"] == 2
    assert numbers["no_negatives"]["macro_mae"] == numbers["macro_mae"]
    assert out.with_suffix(".png").stat().st_size > 1000


def test_an_unknown_judge_suggests_the_closest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'roboreward-nano'"):
        load_judge("roboreward-nanno")


def test_constant_judges_answer_their_level() -> None:
    judge = load_judge("constant-4")
    assert isinstance(judge, RewardModel)
    scores = judge.score([random_clip(2), random_clip(3)])
    assert [score.level for score in scores] == [4, 4]
    assert scores[0].expected == 4.0
    assert judge.score([]) == []


def test_a_constant_outside_the_rubric_is_refused() -> None:
    with pytest.raises(InvalidScore, match="got 6"):
        ConstantReward(6)


def test_missing_nano_weights_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nano, "WEIGHTS", tmp_path / "weights")
    with pytest.raises(WeightsError, match="checkpoint"):
        nano.load()
