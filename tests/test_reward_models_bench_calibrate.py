"""Operating points: the threshold, how far to trust it, and where it goes."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from reward_models.bench.calibrate import CalibrateConfig, run
from reward_models.bench.calibration import (
    Labelled,
    failures_needed,
    fit,
    fit_temperature,
    trust,
)
from reward_models.bench.questions import InvalidBenchmark
from reward_models.commands import main as cli
from roboreward_gym import Clip, ProgressScore, VLMRewardWrapper
from roboreward_gym.errors import InvalidScore, InvalidSetting, UnknownName
from roboreward_gym.operating_point import OperatingPoint, tempered
from roboreward_gym.registry import register_reward_model
from roboreward_gym.rewards import as_reward_map
from tests.fakes import PaintedEnv, play
from tests.video_files import flat_frames, write_video


def probabilities(success: float) -> np.ndarray:
    """P(5) as given, the rest on level 4."""
    return np.array([0, 0, 0, 1 - success, success])


def labelled(p5: Sequence[float], truth: Sequence[int]) -> Labelled:
    p = np.stack([probabilities(value) for value in p5])
    return Labelled(1.0 + p.argmax(1), p, np.array(truth), tuple(str(i) for i in range(len(truth))))


SEPARABLE = labelled([0.3, 0.4, 0.35, 0.1, 0.2, 0.05], [5, 5, 5, 1, 4, 2])


def test_the_threshold_lies_in_the_gap() -> None:
    found = fit(SEPARABLE, 0.0, "success_probability", 1.0)
    assert found is not None
    assert found.threshold == pytest.approx(0.25)
    assert (found.true_positive_rate, found.false_positive_rate) == (1.0, 0.0)
    # No level is 5: the likeliest level finds no success at all.
    assert SEPARABLE.levels.max() == 4


def test_a_larger_rate_buys_successes() -> None:
    data = labelled([0.9, 0.6, 0.3, 0.7, 0.2, 0.1, 0.1], [5, 5, 5, 1, 1, 1, 1])
    strict = fit(data, 0.0, "success_probability", 1.0)
    loose = fit(data, 0.25, "success_probability", 1.0)
    assert strict is not None
    assert loose is not None
    assert strict.true_positive_rate == pytest.approx(1 / 3)
    assert strict.threshold == pytest.approx(0.8)
    assert (loose.true_positive_rate, loose.false_positive_rate) == (1.0, 0.25)
    assert loose.threshold == pytest.approx(0.25)


def test_failures_above_every_success_leave_no_threshold() -> None:
    data = labelled([0.2, 0.3, 0.9, 0.8], [5, 5, 1, 1])
    assert fit(data, 0.0, "auto", 1.0) is None


def test_auto_takes_the_number_that_finds_more() -> None:
    # The mean level misleads: the failure is sure of level 4, the successes waver between 1 and 5.
    p = np.array([[0.5, 0, 0, 0, 0.5], [0.4, 0, 0, 0, 0.6], [0, 0, 0, 1, 0], [0, 0, 0, 1, 0]])
    data = Labelled(1.0 + p.argmax(1), p, np.array([5, 5, 4, 4]), ("a", "b", "c", "d"))
    found = fit(data, 0.0, "auto", 1.0)
    assert found is not None
    assert found.statistic == "success_probability"
    assert fit(data, 0.0, "expected", 1.0) is None


def test_an_unreadable_answer_is_below_every_threshold() -> None:
    levels, p = np.array([5.0, np.nan, 1.0, np.nan]), np.full((4, 5), np.nan)
    data = Labelled(levels, p, np.array([5, 5, 1, 1]), ("a", "b", "c", "d"))
    found = fit(data, 0.0, "auto", 1.0)
    assert found is not None
    assert found.true_positive_rate == 0.5
    report = trust(data, found, 0.05)
    assert report["unreadable"] == 2
    assert report["true_positive_rate"]["estimate"] == 0.5
    assert report["false_positive_rate"]["estimate"] == 0.0


@pytest.mark.parametrize("truth", [[5, 5], [1, 4]])
def test_one_sided_data_is_refused(truth: list[int]) -> None:
    with pytest.raises(InvalidBenchmark, match="episodes of both kinds"):
        labelled([0.1, 0.9], truth)


def test_warnings_say_what_the_data_cannot_show() -> None:
    found = fit(SEPARABLE, 0.05, "success_probability", 1.0)
    assert found is not None
    report = trust(SEPARABLE, found, 0.05)
    upper = 1 - 0.025 ** (1 / 3)  # Clopper-Pearson for 0 of 3
    assert report["false_positive_rate"]["interval"] == [0.0, round(upper, 4)]
    text = " ".join(report["warnings"])
    assert "3 failures cannot show a false-positive rate of 0.05" in text
    assert "72 failures" in text
    assert "There are 3 successes only" in text


def test_enough_good_data_draws_no_warning() -> None:
    rng = np.random.default_rng(0)
    p5 = [*rng.uniform(0.7, 1.0, 60), *rng.uniform(0.0, 0.3, 80)]
    data = labelled(p5, [5] * 60 + [1] * 80)
    found = fit(data, 0.05, "auto", 1.0)
    assert found is not None
    report = trust(data, found, 0.05)
    assert report["warnings"] == []
    low, high = report["out_of_bag"]["threshold_interval"]
    assert low <= found.threshold <= high


def test_rates_out_of_the_bag_are_honest_about_noise() -> None:
    """Scores that know nothing: on its own data the rule looks as good as allowed, on others it does not."""
    rng = np.random.default_rng(0)
    data = labelled(list(rng.uniform(size=30)), [5, 1] * 15)
    found = fit(data, 0.0, "success_probability", 1.0)
    assert found is not None
    report = trust(data, found, 0.0)
    assert report["false_positive_rate"]["estimate"] == 0.0
    assert report["out_of_bag"]["false_positive_rate"]["estimate"] > 0.02
    assert any("No number of failures can show 0" in warning for warning in report["warnings"])
    assert any("hardly tells success" in warning for warning in report["warnings"])


def test_failures_needed_equal_those_of_the_interval() -> None:
    n = failures_needed(0.1)
    assert 1 - 0.025 ** (1 / n) <= 0.1 < 1 - 0.025 ** (1 / (n - 1))


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4000, 5))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = 1 + np.array([rng.choice(5, p=p) for p in true])
    sharp = tempered(true, 1 / 3)
    data = Labelled(1.0 + sharp.argmax(1), sharp, truth, tuple(map(str, range(4000))))
    assert fit_temperature(data) == pytest.approx(3.0, rel=0.1)
    np.testing.assert_allclose(tempered(sharp, 3.0), true, atol=1e-9)
    with pytest.raises(InvalidBenchmark, match="no probabilities"):
        fit_temperature(Labelled(data.levels, np.full((4000, 5), np.nan), truth, data.units))


class Brightness:
    """P(5) is how bright the last frame is."""

    def __init__(self, weights: str = "w") -> None:
        self.weights = weights

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        return [self._score(float(clip.frames[-1].mean()) / 255) for clip in clips]

    def _score(self, p5: float) -> ProgressScore:
        return ProgressScore(
            4 if p5 < 0.5 else 5, probabilities(p5), manifest={"weights_sha256": self.weights}
        )


@pytest.fixture
def episodes(tmp_path: Path) -> Path:
    """Six short and six long films of grey that gets brighter: the long ones are successes."""
    lines = ["video,task,reward"]
    for i in range(12):
        count = 8 + i if i < 6 else 22 + i
        write_video(tmp_path / f"{i}.mp4", flat_frames(count))
        lines.append(f"{i}.mp4,make it bright,{5 if i >= 6 else 1}")
    (tmp_path / "episodes.csv").write_text("\n".join(lines) + "\n")
    register_reward_model("brightness", Brightness, replace=True)
    return tmp_path / "episodes.csv"


def test_from_a_table_of_episodes_to_a_reward(
    episodes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "point.json"
    arguments = ["--model", "brightness", "--data", f"csv:{episodes}", "--out", str(out)]
    assert cli.main(["calibrate", *arguments]) == 0
    shown = capsys.readouterr()
    assert "Warning: 6 failures cannot show" in shown.err
    point = OperatingPoint.load(out)
    assert point.about["true_positive_rate"]["estimate"] == 1.0
    assert point.weights_sha256 == "w"
    env = VLMRewardWrapper(
        PaintedEnv(),
        Brightness(),
        "make it bright",
        reward_map=f"calibrated:{out}",
        ending="unchanged",
    )
    assert [step[1] for step in play(env)][-1] == 0.0
    assert as_reward_map(f"calibrated:{out}")(Brightness()._score(0.45)) == 1.0
    assert as_reward_map(f"calibrated-minus-one:{out}")(Brightness()._score(0.2)) == -1.0
    spec = env.spec
    assert spec is None or gym.make(spec)


def test_score_says_what_counts_as_success(episodes: Path, tmp_path: Path) -> None:
    out = tmp_path / "point.json"
    run(CalibrateConfig("brightness", (f"csv:{episodes}",), out))
    scores = tmp_path / "scores.jsonl"
    videos = [str(episodes.parent / f"{i}.mp4") for i in (0, 11)]
    how = ["--task", "make it bright", "--model", "brightness", "--out", str(scores)]
    assert cli.main(["score", *videos, *how, "--calibration", str(out)]) == 0
    rows = [json.loads(line) for line in scores.read_text().splitlines()]
    assert [row["success"] for row in rows] == [False, True]


def test_answers_are_kept_for_another_rate(episodes: Path, tmp_path: Path) -> None:
    out = tmp_path / "point.json"
    run(CalibrateConfig("brightness", (f"csv:{episodes}",), out))

    def gone() -> Brightness:
        model = Brightness()
        model.score = None  # ty: ignore[invalid-assignment]
        return model

    register_reward_model("brightness", gone, replace=True)
    again = run(
        CalibrateConfig("brightness", (f"csv:{episodes}",), out, max_false_positive_rate=0.3)
    )
    assert again.about["max_false_positive_rate"] == 0.3


def test_several_tasks_need_a_name(episodes: Path, tmp_path: Path) -> None:
    episodes.write_text(episodes.read_text().replace("0.mp4,make it bright", "0.mp4,make it dark"))
    config = {"model": "brightness", "data": (f"csv:{episodes}",), "out": tmp_path / "p.json"}
    with pytest.raises(InvalidBenchmark, match="make it bright; make it dark"):
        run(CalibrateConfig(**config))
    with pytest.raises(InvalidBenchmark, match="Name one of the 2 tasks"):
        run(CalibrateConfig(**config, task="fly"))
    assert run(CalibrateConfig(**config, task="make it bright")).about["task"] == "make it bright"


def test_no_threshold_is_an_error_and_writes_nothing(episodes: Path, tmp_path: Path) -> None:
    text = episodes.read_text()
    for i in range(12):
        text = text.replace(
            f"{i}.mp4,make it bright,{5 if i >= 6 else 1}",
            f"{i}.mp4,make it bright,{1 if i >= 6 else 5}",
        )
    episodes.write_text(text)
    with pytest.raises(InvalidBenchmark, match="No threshold finds a success"):
        run(CalibrateConfig("brightness", (f"csv:{episodes}",), tmp_path / "p.json"))
    assert not (tmp_path / "p.json").exists()


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_an_impossible_rate_is_refused(rate: float, tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="max_false_positive_rate"):
        CalibrateConfig("m", ("csv:x",), tmp_path, max_false_positive_rate=rate)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("nonsense", "is not an operating point"),
        ("[1]", "of this version"),
        ('{"format": "roboreward operating point 2"}', "of this version"),
        (
            '{"format": "roboreward operating point 1", "model": "m"}',
            "not a complete operating point",
        ),
        (
            '{"format": "roboreward operating point 1", "model": "m", "statistic": "luck", "threshold": 1}',
            "Choose one of expected",
        ),
        (
            '{"format": "roboreward operating point 1", "model": "m", "statistic": "expected", "threshold": "high"}',
            "no number",
        ),
    ],
)
def test_a_file_that_is_no_operating_point_is_refused(
    tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "point.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidSetting, match=said):
        as_reward_map(f"calibrated:{path}")


def test_scores_that_the_point_says_nothing_about_have_no_value() -> None:
    point = OperatingPoint("m", "expected", 3.0, temperature=2.0, weights_sha256="a")
    with pytest.raises(InvalidScore, match="other weights"):
        point.value(ProgressScore(3, manifest={"weights_sha256": "b"}))
    with pytest.raises(InvalidScore, match="no probabilities"):
        point.value(ProgressScore(3))
    with pytest.raises(InvalidScore, match="unreadable"):
        point.value(ProgressScore(None, text="hm"))
    plain = OperatingPoint("m", "success_probability", 0.5)
    assert plain.is_success(ProgressScore(5))
    assert not plain.is_success(ProgressScore(4))
    assert math.isclose(point.threshold, 3.0)
    with pytest.raises(UnknownName, match="calibrated:FILE"):
        as_reward_map("calibratd")
