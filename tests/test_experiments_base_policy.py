"""A LeRobot policy as the base policy of an experiment: a whole run of it, and refusals that leave nothing behind."""

import dataclasses
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import pytest

pytest.importorskip("lerobot", reason="needs the extra `lerobot`")

from safetensors.torch import load_file, save_file

from experiments.base_policy import check_policy, fingerprint
from experiments.config import ExperimentConfig
from experiments.phases import open_run, run
from experiments.run import main
from experiments.run_folder import RunFolderError, read_json, read_lines
from roboreward_gym.errors import InvalidSetting, RoboRewardError
from tests.fakes_policies import TINY
from tests.lerobot_marks import LEROBOT
from tests.lerobot_policies import StepCounter, diffusion_config, features, save

ENV_ID = "StepCounter-v0"
pytestmark = LEROBOT


@pytest.fixture(autouse=True, scope="module")
def _env(one_thread: None) -> Iterator[None]:
    gym.register(ENV_ID, entry_point=StepCounter)
    yield
    del gym.registry[ENV_ID]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    folder = save(diffusion_config(n_obs_steps=2), tmp_path_factory.mktemp("lerobot") / "policy")
    learner = dataclasses.replace(TINY, warm_up_episodes=2, validation_episodes=2, significance=1.0)
    return ExperimentConfig(
        "counted", ENV_ID, f"lerobot:{folder}", "random",
        training_episodes=4, base_episodes=2, final_episodes=2, dsrl=learner,
    )  # fmt: skip


def test_a_run_fine_tunes_the_policy_and_goes_on_with_the_same_one_only(
    config: ExperimentConfig, tmp_path: Path
) -> None:
    copied = tmp_path / "policy"
    shutil.copytree(config.policy.removeprefix("lerobot:"), copied)
    config = dataclasses.replace(config, policy=f"lerobot:{copied}")
    folder = open_run(config, tmp_path / "run", resume=False)
    finished = run(config, folder)
    assert len(finished.training) == 4
    assert all(line["steps"] == 10 for line in read_lines(folder / "training" / "metrics.jsonl"))
    assert read_json(folder / "config.json")["policy_sha256"] == fingerprint(config.policy)

    tensors = load_file(copied / "model.safetensors")
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name] + 1}, copied / "model.safetensors")
    with pytest.raises(RunFolderError, match="policy_sha256"):
        open_run(config, tmp_path / "run", resume=True)


def test_refused_policies_leave_no_run_folder(config: ExperimentConfig, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    six = save(diffusion_config(**features(action=6)), tmp_path / "six")
    for policy, said in (
        (str(tmp_path / "empty"), "holds no LeRobot policy"),
        (str(tmp_path / "gone"), "There is no folder"),
        (str(six), "6 numbers per action and the environment takes 7"),
    ):
        wrong = dataclasses.replace(config, policy=f"lerobot:{policy}")
        with pytest.raises(RoboRewardError, match=said):
            open_run(wrong, tmp_path / "run", resume=False)
        assert not (tmp_path / "run").exists()


def test_the_command_names_the_policy(tmp_path: Path) -> None:
    argv = ["drawer-nano", "--policy", f"lerobot:{tmp_path}", "--out", str(tmp_path / "run")]
    with pytest.raises(RoboRewardError, match="holds no LeRobot policy"):
        main(argv)
    assert not (tmp_path / "run").exists()


def test_a_policy_is_checked_against_the_simulated_twin_of_a_robot(
    config: ExperimentConfig,
) -> None:
    gym.register("StepCounterRos-v0", entry_point="no_such_module:Env")
    try:
        assert check_policy(config.policy, "StepCounterRos-v0").feature_dim > 0
    finally:
        del gym.registry["StepCounterRos-v0"]


def test_a_missing_lerobot_is_said(
    config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "policies.lerobot_policy.folder", None)
    with pytest.raises(InvalidSetting, match="needs LeRobot"):
        fingerprint(config.policy)
