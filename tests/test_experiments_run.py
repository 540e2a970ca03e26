"""The command line of an experiment."""

from pathlib import Path

import pytest

from experiments.config import CONFIGS
from experiments.run import main, parse
from roboreward_gym.errors import InvalidSetting, RoboRewardError, UnknownName
from robots.errors import ArmUnavailable


def test_options_change_the_named_experiment() -> None:
    args = parse(["drawer-nano", "--seed", "2", "--dsrl.gamma", "0.9", "--training-episodes", "5"])
    assert args.experiment.dsrl.gamma == 0.9
    assert (args.experiment.seed, args.experiment.training_episodes) == (2, 5)
    assert args.folder == Path("runs/drawer-nano-seed2")


def test_the_robot_is_chosen_by_name_or_by_option() -> None:
    for argv in (["drawer-nano-ros2"], ["drawer-nano", "--robot", "ros2"]):
        args = parse(argv)
        assert args.on.robot == "ros2"
        assert args.folder == Path("runs/drawer-nano-ros2-seed0")
        assert args.config.env_id == "robots:WidowXDrawerRos-v0"


@pytest.mark.parametrize(
    ("name", "variable"),
    [("drawer-gpt-5-mini", "OPENAI_API_KEY"), ("drawer-gemini-robotics-er-1.5", "GEMINI_API_KEY")],
)
def test_a_missing_key_is_named_before_anything_is_made(
    name: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("OPENAI_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr("experiments.run.end_on_signals", lambda: None)
    out = tmp_path / "run"
    with pytest.raises(RoboRewardError, match=variable):
        main([name, "--out", str(out)])
    assert not out.exists()


def test_unknown_experiment_is_refused_before_anything_runs() -> None:
    with pytest.raises(UnknownName, match="toy-on-towel-nano"):
        main(["toy-on-towel-nan", "--seed", "0"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--i-am-watching"], "Add --robot ros2"),
        (["--simulated-clock"], "Add --robot ros2"),
        (["--robot", "ros2", "--workers", "2"], "one worker, got 2"),
        (["--camera-topic", "/top"], "--camera-topic is for a robot"),
        (["--robot", "ros2", "--dry-run", "--i-am-watching"], "for an arm that moves"),
        (["--dry-run"], "--dry-run is for a robot"),
        (["--limits", "limits.json"], "--limits is for a robot"),
        (["--robot", "ros2", "--reset-script", "a.json"], "--reset-script is for a real arm"),
        (
            ["--robot", "ros2", "--camera-reference", "a.png"],
            "--camera-reference is for a real arm",
        ),
        (["--robot", "ros2", "--i-am-watching", "--simulated-clock"], "for a simulated driver"),
        (["--robot", "ros2", "--limits", "missing.json"], "missing.json is not a file of limits"),
        (
            ["--robot", "ros2", "--i-am-watching"],
            "roboreward-nano was trained on the simulation only",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: list[str], said: str) -> None:
    with pytest.raises(InvalidSetting, match=said):
        parse(["drawer-nano", *options])


def test_a_robot_without_ros_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.robot.find_spec", lambda name: None)
    out = tmp_path / "run"
    with pytest.raises(ArmUnavailable, match="make setup-ros"):
        main(["drawer-nano", "--robot", "ros2", "--out", str(out)])
    assert not out.exists()


@pytest.mark.parametrize(("argv", "status"), [([], 2), (["--seed", "1"], 2), (["--help"], 0)])
def test_without_an_experiment_the_program_says_what_there_is(
    argv: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        parse(argv)
    assert end.value.code == status
    said = capsys.readouterr().out
    assert all(name in said for name in CONFIGS)
    assert "fine-tune it with a reward model's scores" in said
