import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from reward_models import nano
from reward_models.bench import benchmark
from reward_models.bench.benchmark import BenchmarkConfig, load_named_model, run
from reward_models.bench.measure import measure
from reward_models.bench.questions import from_reward_data
from reward_models.commands import main as cli
from reward_models.data.reward_data import RewardData
from reward_models.judges.null import ConstantReward, RandomReward
from roboreward_gym import Clip, ProgressScore
from roboreward_gym.errors import (
    BudgetExhausted,
    InvalidClip,
    InvalidScore,
    InvalidSetting,
    PartialScores,
    RewardModelFailure,
    UnknownName,
    WeightsError,
)
from roboreward_gym.registry import register_reward_model
from tests.reward_folder import write_reward_folder
from tests.tiny_vlm import random_clip, write_tiny_checkpoint

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    return write_reward_folder(root / "test", 5, split="test", size=(32, 64))


class Oracle:
    """Knows the true levels, and checks that it gets the clips one by one in order."""

    def __init__(self, data: RewardData) -> None:
        self._answers = iter(data.examples)

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        scores = []
        for clip in clips:
            example = next(self._answers)
            assert clip.task == example.task
            scores.append(ProgressScore(level=example.level))
        return scores


class Silent:
    """Gives an unreadable answer to every second clip and level 3 to the others."""

    def __init__(self) -> None:
        self.tasks: list[str] = []

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        levels = [3 if (len(self.tasks) + i) % 2 else None for i in range(len(clips))]
        self.tasks += [clip.task for clip in clips]
        return [ProgressScore(level=level) for level in levels]


def test_a_model_that_knows_the_truth_makes_no_error(folder: Path) -> None:
    data = RewardData.open([folder], "test")
    numbers = measure(Oracle(data), from_reward_data(data), batch_size=3)
    assert numbers["macro_mae"] == 0.0
    assert numbers["exact"] == 1.0
    assert numbers["episodes"] == 5
    assert numbers["examples"] == 10


def test_always_three_equals_its_baseline(folder: Path) -> None:
    numbers = measure(ConstantReward(3), from_reward_data(RewardData.open([folder], "test")))
    assert numbers["macro_mae"] == numbers["always_three_macro_mae"]
    assert numbers["false_positive_rate"] == 0.0


def test_unreadable_answers_are_counted_and_cost_four(folder: Path) -> None:
    data = RewardData.open([folder], "test")
    numbers = measure(Silent(), from_reward_data(data), batch_size=4)
    assert numbers["unreadable_count"] == 5
    errors = [4.0 if i % 2 == 0 else abs(3 - e.level) for i, e in enumerate(data.examples)]
    assert numbers["mae"] == pytest.approx(np.mean(errors))


class Paid:
    """Refuses the second clip and has no budget after the fifth."""

    def __init__(self) -> None:
        self.asked = 0

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        raise PartialScores([self._answer() for _ in clips])

    def _answer(self) -> ProgressScore | InvalidClip | BudgetExhausted:
        self.asked += 1
        if self.asked == 2:
            return InvalidClip("The clip was refused.")
        return ProgressScore(3) if self.asked <= 5 else BudgetExhausted("The budget is used up.")


def test_paid_answers_are_written_when_others_fail(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Paid()
    register_reward_model("bench-paid", lambda: model, replace=True)
    out = tmp_path / "n.json"
    arguments = ["--model", "bench-paid", "--data", str(folder), "--out", str(out)]
    assert cli.main(["bench", *arguments, "--batch-size", "3", "--bootstrap", "5"]) == 1
    numbers = json.loads(out.read_text())
    assert (numbers["examples"], numbers["failed_count"], model.asked) == (4, 6, 6)
    truth = [e.level for e in RewardData.open([folder], "test").examples]
    assert numbers["bias"] == pytest.approx(np.mean([3 - truth[i] for i in (0, 2, 3, 4)]))
    err = capsys.readouterr().err
    assert "put the" in err
    assert "The clip was refused." in err
    assert "The last 4 questions were not asked." in err


class GivesUp:
    """Answers the first clips, and none of the others."""

    def __init__(self, answers: int) -> None:
        self._left = answers

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        self._left -= len(clips)
        if self._left < 0:
            raise RewardModelFailure("out of order")
        return [ProgressScore(3) for _ in clips]


@pytest.mark.parametrize(("answers", "status"), [(1_000, 0), (12, 1)])
def test_controls_without_an_answer_count_in_the_exit_status(
    folder: Path, tmp_path: Path, answers: int, status: int
) -> None:
    register_reward_model("bench-gives-up", lambda: GivesUp(answers), replace=True)
    out = tmp_path / "n.json"
    arguments = ["--model", "bench-gives-up", "--data", str(folder), "--out", str(out)]
    arguments += ["--controls", "--batch-size", "1", "--bootstrap", "5"]
    assert cli.main(["bench", *arguments]) == status
    numbers = json.loads(out.read_text())
    assert numbers["failed_count"] == 0
    assert bool(numbers["controls"]["failed_count"]) == bool(status)


def test_any_registered_model_is_measured_by_name(folder: Path, tmp_path: Path) -> None:
    register_reward_model("bench-test-model", lambda argument: ConstantReward(int(argument)))
    out = tmp_path / "numbers.json"
    run(BenchmarkConfig(model="bench-test-model:2", data=(str(folder),), out=out, bootstrap=5))
    numbers = json.loads(out.read_text())
    assert numbers["model"] == "bench-test-model:2"
    assert numbers["bias"] == pytest.approx(
        np.mean([2 - e.level for e in RewardData.open([folder], "test").examples])
    )


def test_a_checkpoint_folder_is_measured_from_pixels(folder: Path, tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    out = tmp_path / "numbers" / "tiny.json"
    run(
        BenchmarkConfig(
            model=str(checkpoint),
            data=(str(folder),),
            out=out,
            bootstrap=5,
            no_negatives=f"checkpoint:{checkpoint}",
            limit=3,
        )
    )
    numbers = json.loads(out.read_text())
    assert numbers["examples"] == 3
    assert numbers["no_negatives"]["macro_mae"] == numbers["macro_mae"]
    assert out.with_suffix(".png").stat().st_size > 1000


def test_what_cannot_be_averaged_is_null_in_the_file(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "numbers.json"
    run(BenchmarkConfig(model="constant:3", data=(str(folder),), out=out, bootstrap=5))

    def refuse(name: str) -> None:
        raise AssertionError(name)

    numbers = json.loads(out.read_text(), parse_constant=refuse)
    assert numbers["kendall_tau_b"] is None


def test_a_limit_draws_from_every_kind_and_repeats_for_a_seed(tmp_path: Path) -> None:
    data = RewardData.open(
        [write_reward_folder(tmp_path / "test", 40, split="test", size=(32, 64))], "test"
    )

    def scored(seed: int) -> tuple[list[str], dict[str, float]]:
        model = Silent()
        numbers = measure(model, from_reward_data(data).sample(16, seed))
        return model.tasks, numbers["mae_by_subset"]

    (first, subsets), (again, _), (other, _) = scored(0), scored(0), scored(1)
    assert len(first) == 16
    assert first == again
    assert first != other
    # Own and other tasks take turns in the folder: every second example would be of one kind.
    assert set(subsets) == set(data.subsets)


def test_an_unknown_model_suggests_the_closest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'roboreward-nano'"):
        load_named_model("roboreward-nanno")


@pytest.mark.parametrize("name", ["limit", "batch_size", "threads"])
def test_a_setting_below_one_is_refused(name: str, folder: Path) -> None:
    with pytest.raises(InvalidSetting, match=name):
        BenchmarkConfig(model="constant:3", data=(str(folder),), out=folder, **{name: 0})


@pytest.mark.parametrize(
    ("name", "kind"), [("constant:4", ConstantReward), ("random:7", RandomReward)]
)
def test_names_take_arguments(name: str, kind: type) -> None:
    assert isinstance(load_named_model(name), kind)


def test_constant_models_answer_their_level() -> None:
    model = load_named_model("constant:4")
    scores = model.score([random_clip(2), random_clip(3)])
    assert [score.level for score in scores] == [4, 4]
    assert scores[0].expected == 4.0
    assert model.score([]) == []


def test_a_constant_outside_the_rubric_is_refused() -> None:
    with pytest.raises(InvalidScore, match="got 6"):
        ConstantReward(6)


def test_missing_nano_weights_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nano, "WEIGHTS", tmp_path / "weights")
    with pytest.raises(WeightsError, match="checkpoint"):
        nano.load_nano()


def test_a_missing_library_names_the_extra(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(config: BenchmarkConfig) -> None:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")

    monkeypatch.setattr(benchmark, "run", missing)
    arguments = ["--model", "constant:3", "--data", str(folder), "--out", "x.json"]
    assert cli.main(["bench", *arguments]) == cli.FAILED
    assert "sklearn" in (err := capsys.readouterr().err)
    assert "pip install '.[bench]'" in err


@pytest.mark.parametrize("command", ["bench", "train"])
def test_help_names_the_command_and_loads_no_torch(command: str) -> None:
    code = (
        "import sys; from reward_models.commands import main as cli\n"
        "try:\n    cli.main(sys.argv[1:])\n"
        "finally:\n    print({'torch', 'transformers', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert shown.startswith(f"usage: roboreward {command} ")
    assert shown.splitlines()[-1] == "set()"
