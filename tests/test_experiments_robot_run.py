"""A whole run beside a real table: ratings or none, corrected later, resumed, and a disk that is full."""

import dataclasses
import errno
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from experiments import relabel
from experiments.config import TRUTH, ExperimentConfig
from experiments.phases import EPISODES, Finished, load_training, open_run, reopen, run
from experiments.relabel import RelabelArgs
from experiments.report.report import write_report
from experiments.reward_sources import scored_env
from experiments.robot import Robot, RobotOptions
from experiments.run_folder import RunFolder, RunFolderError, read_json
from policies.dsrl.training import DsrlConfig
from policies.policy import DiffusionPolicy, PolicyConfig
from roboreward_gym.errors import InvalidSetting
from robots.errors import DiskError
from robots.recording import RESERVE, RecordEpisodes, read_ratings
from robots.widowx import WidowXEnv
from robots.xs.arm import XsArm
from robots.xs.link import Peers
from robots.xs.operator import Operator
from robots.xs.table import RealTable
from tests.fakes_xs import FakeDriver

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = 4
REAL = RobotOptions(robot="ros2", i_am_watching=True, robot_name="left")
TINY = PolicyConfig(maps=2, vision_width=4, width=16, layers=1, heads=1, sample_steps=2)


class Person:
    """Gives the same answer to every question about an episode."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.questions: list[str] = []

    def pressed(self) -> str:
        return ""

    def ask(self, question: str) -> str:
        self.questions.append(question)
        return self.answer if "How far" in question else ""


@dataclass(frozen=True)
class FakeRobot(Robot):
    """A real table over a driver in memory."""

    options: RobotOptions = REAL
    person: Person = field(default_factory=lambda: Person(""), compare=False)

    def make(self, env_id: str) -> gym.Env:
        driver = FakeDriver()
        driver.size = (96, 128)
        driver.peers_now = Peers(drivers=1, others=0, simulated=False)
        operator = Operator(self.person)
        arm = XsArm(driver, image_size=(96, 128), timer=driver, watched=True, operator=operator)
        self.arms.append(arm)
        env = WidowXEnv(arm, RealTable(arm, ("wave",), operator), "wave", render_mode="rgb_array")
        return RecordEpisodes(gym.wrappers.TimeLimit(env, STEPS), self.episodes)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("policy")
    DiffusionPolicy(TINY).save(folder)
    dsrl = DsrlConfig(
        warm_up_episodes=2, warm_up_updates=1, updates_per_chunk=1, batch=4, width=8, layers=1,
        validation_episodes=1, significance=1.0, save_every=1, time_feature_steps=STEPS,
    )  # fmt: skip
    return ExperimentConfig(
        "wave", "robots:WidowXToyOnTowelRos-v0", str(folder), "constant",
        training_episodes=3, base_episodes=2, final_episodes=2, dsrl=dsrl,
    )  # fmt: skip


def start(config: ExperimentConfig, path: Path, person: Person) -> tuple[RunFolder, Finished]:
    folder = open_run(config, path, resume=path.exists(), robot=REAL.description())
    robot = FakeRobot(folder / EPISODES, person=person)
    return folder, run(config, folder, robot=robot)


@pytest.fixture(scope="module")
def unrated(
    config: ExperimentConfig, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunFolder, Finished]:
    return start(config, tmp_path_factory.mktemp("runs") / "run", Person(""))


def test_without_any_rating_a_run_reports_unknown(
    config: ExperimentConfig, unrated: tuple[RunFolder, Finished]
) -> None:
    folder, finished = unrated
    assert str(finished.base.rate) == str(finished.final.rate) == "unknown"
    record = read_json(folder / "result.json")
    assert record["base_success"] is record["gain_points"] is record["false_positive_rate"] is None
    page = write_report(config, folder, finished).read_text()
    assert "unknown" in page
    assert "the WidowX /left over ROS 2" in page
    assert "comes from the person who watched" in page
    assert "simulat" not in page


def test_resuming_a_run_without_ratings_plays_nothing_again(
    config: ExperimentConfig, unrated: tuple[RunFolder, Finished]
) -> None:
    folder, _ = unrated
    played = len(list((folder / EPISODES).glob("*.npz")))
    person = Person("5")
    _, again = start(config, folder.path, person)
    assert str(again.base.rate) == "unknown"
    assert person.questions == []
    assert len(list((folder / EPISODES).glob("*.npz"))) == played


def test_another_robot_cannot_go_on_with_a_run(
    config: ExperimentConfig, unrated: tuple[RunFolder, Finished]
) -> None:
    other = dataclasses.replace(REAL, robot_name="right").description()
    with pytest.raises(RunFolderError, match=r"robot\.name: 'left', now 'right'"):
        open_run(config, unrated[0].path, resume=True, robot=other)


def test_ratings_can_be_given_and_corrected_later(
    config: ExperimentConfig,
    unrated: tuple[RunFolder, Finished],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, finished = unrated
    first, second = (outcome.episode for outcome in finished.base.outcomes)
    relabel.main(RelabelArgs(folder.path, set=(f"{first}=5", f"{second}=4", "2=3")))
    _, _, corrected = reopen(folder.path)
    assert (corrected.base.rate.successes, corrected.base.rate.total) == (1, 2)
    assert read_json(folder / "result.json")["base_success"] == 0.5
    assert load_training(folder).level[0] == 3.0
    assert "50" in (folder / "report.html").read_text()
    relabel.main(RelabelArgs(folder.path, set=(f"{first}=unknown", f"{second}=unknown")))
    assert str(reopen(folder.path)[2].base.rate) == "unknown"
    assert "report.html" in capsys.readouterr().out


def test_who_relabels_is_asked_for_what_has_no_rating_and_shown_a_page(
    unrated: tuple[RunFolder, Finished],
) -> None:
    folder, _ = unrated
    person = Person("2")
    rated = {number for number, level in read_ratings(folder / EPISODES).items() if level}
    valid = relabel.valid_episodes(folder / EPISODES)
    relabel.main(RelabelArgs(folder.path), Operator(person))
    assert len(person.questions) == len(valid) - len(rated)
    page = (folder / relabel.PAGE).read_text()
    assert page.count("<img") == len(valid)
    assert set(read_ratings(folder / EPISODES)) == set(valid)
    person.answer = "q"
    relabel.main(RelabelArgs(folder.path, all=True), Operator(person))
    assert read_ratings(folder / EPISODES)[0] is not None


@pytest.mark.parametrize("word", ["1", "0=6", "a=1", "99=1", "0="])
def test_ratings_that_are_none_are_refused(unrated: tuple[RunFolder, Finished], word: str) -> None:
    with pytest.raises(InvalidSetting):
        relabel.main(RelabelArgs(unrated[0].path, set=(word,)))


def test_a_folder_without_episodes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"no episodes\.jsonl"):
        relabel.main(RelabelArgs(tmp_path))


@pytest.mark.parametrize(("answer", "reward"), [("5", 1.0), ("", math.nan)])
def test_a_rating_as_the_reward_may_be_unknown(tmp_path: Path, answer: str, reward: float) -> None:
    robot = FakeRobot(tmp_path, person=Person(answer))
    env = scored_env("unused", TRUTH, robot=robot)
    env.reset(seed=0)
    for _ in range(STEPS):
        found = env.step(np.zeros(7, np.float32))[1]
    assert found == pytest.approx(reward, nan_ok=True)
    env.close()


def test_a_full_disk_ends_the_run_before_an_episode_and_names_the_file(
    config: ExperimentConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocate, played = os.posix_fallocate, []

    def full(descriptor: int, offset: int, length: int) -> None:
        played.append(length)
        if len(played) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        allocate(descriptor, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskError, match=rf"{RESERVE} cannot be written: No space left.*Make room"):
        start(config, tmp_path / "run", Person("3"))
    folder = tmp_path / "run"
    lines = [json.loads(line) for line in (folder / "base.jsonl").read_text().splitlines()]
    assert [line["level"] for line in lines] == [3.0]
    assert not (folder / EPISODES / RESERVE).exists()
    monkeypatch.undo()
    _, finished = start(config, folder, Person("3"))
    assert finished.base.rate.total == 2
    assert len(list((folder / EPISODES).glob("*.npz"))) == len(read_ratings(folder / EPISODES))


@pytest.mark.parametrize("name", ["episode-000000.npz", "training"])
def test_what_cannot_be_written_is_named(
    config: ExperimentConfig, tmp_path: Path, name: str
) -> None:
    folder = open_run(config, tmp_path / "run", resume=False, robot=REAL.description())
    place = folder / EPISODES / name if name.endswith("npz") else folder / name
    place.parent.mkdir(exist_ok=True)
    if name == "training":
        place.write_text("")
    else:
        place.mkdir()
    with pytest.raises(DiskError, match=name):
        run(config, folder, robot=FakeRobot(folder / EPISODES))
