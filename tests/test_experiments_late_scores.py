"""A person who answers late and out of order: the run plays and learns on, and nothing is lost when it is stopped."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import gymnasium as gym
import pytest
import torch

from experiments.config import ExperimentConfig
from experiments.evaluate import EpisodeRunner
from experiments.phases import fine_tune, open_run, policy_spec
from experiments.played_episode import PlayedEpisode, training_path
from experiments.run import parse
from experiments.run_folder import read_lines
from policies.checkpoint import CHECKPOINT, METRICS, load_checkpoint
from policies.dsrl.config import DsrlConfig
from policies.dsrl.training import NOISE_POLICY
from policies.policy import DiffusionPolicy
from reward_models.labeling.folder import LabelFolder
from reward_models.labeling.human import FolderMailbox, HumanReward, ServerMailbox
from roboreward_gym.errors import InvalidSetting
from roboreward_gym.registry import register_reward_model
from tests.label_page import label_page
from tests.slider import ENV_ID, STEPS, TINY, Slider

NAME = "late-person"
BEHIND = 3
EPISODES, VALIDATION = 9, 2


@pytest.fixture(autouse=True, scope="module")
def _slider(one_thread: None) -> Iterator[None]:
    gym.register(ENV_ID, entry_point=Slider, max_episode_steps=STEPS)
    yield
    del gym.registry[ENV_ID]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ExperimentConfig:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("policy")
    DiffusionPolicy(TINY).save(folder)
    learner = DsrlConfig(
        warm_up_episodes=3, warm_up_updates=4, updates_per_chunk=2, batch=8, width=16, layers=1,
        validation_episodes=VALIDATION, save_every=5, time_feature_steps=STEPS,
    )  # fmt: skip
    return ExperimentConfig(
        "slider", ENV_ID, str(folder), NAME, training_episodes=EPISODES, dsrl=learner
    )


@pytest.fixture
def page(tmp_path: Path) -> Iterator[tuple[str, LabelFolder]]:
    """The page of `roboreward label` in a thread: its address and its folder."""
    folder = LabelFolder(tmp_path / "labels")
    with label_page(folder) as url:
        # A run asks the reward model of this name; a test may put a person in its place.
        register(url, time.sleep)
        yield url, folder
        while OPEN:
            OPEN.pop().close()


class LatePerson:
    """Rates only when the program waits, and then the newest first; walks out before the rating of number `leaves`."""

    def __init__(self, folder: LabelFolder, leaves: int | None = None) -> None:
        self.folder, self.leaves = folder, leaves
        self.rated: list[str] = []

    def __call__(self, _: float) -> None:
        if len(self.rated) == self.leaves:
            raise KeyboardInterrupt
        known = {rating.video for rating in self.folder.ratings()}
        video = next(name for name in reversed(self.folder.videos()) if name not in known)
        self.rated.append(video)
        self.folder.rate(video, "anna", level(video))


def level(video: str) -> int | None:
    """Any level, always the same of a video; sometimes she cannot tell."""
    return int(video, 16) % 6 or None


OPEN: list[HumanReward] = []


def register(url: str, sleep: Callable[[float], None]) -> None:
    person = HumanReward(ServerMailbox(url), sleep=sleep)
    OPEN.append(person)
    register_reward_model(NAME, lambda: person, replace=True)


def outcome(run: Path) -> tuple[list[dict], bytes, dict]:
    """What a run came to: its curve, what was learned, and what was said of each episode."""
    played = {
        path.stem: PlayedEpisode.load(path).score
        for path in training_path(run, 0).parent.glob("*.npz")
    }
    said = {number: score.manifest["video"] for number, score in played.items() if score}
    lines = read_lines(run / "training" / METRICS)
    return lines, (run / "training" / NOISE_POLICY).read_bytes(), said


def test_play_and_learning_go_on_while_ratings_are_missing(
    config: ExperimentConfig, page: tuple[str, LabelFolder], tmp_path: Path
) -> None:
    url, labels = page
    missing: list[tuple[int, int]] = []
    person = LatePerson(labels)
    register(url, person)
    run = open_run(config, tmp_path / "run", resume=False)
    order: list[int] = []

    def log(line: dict) -> None:
        order.append(line["episode"])
        missing.append((line["episode"], len(labels.videos()) - len(order)))

    fine_tune(config, run, log=log, behind=BEHIND)
    lines, _, said = outcome(run.path)
    total = EPISODES + VALIDATION
    assert [line["episode"] for line in lines] == list(range(total))
    assert sorted(order) == list(range(total))
    assert order != sorted(order)
    assert max(count for _, count in missing) == BEHIND
    assert all("critic_loss" in str(line) or "loss" in str(line) for line in lines[3:EPISODES])
    for line in lines:
        video = said[f"{line['episode']:06d}"]
        assert line.get("roboreward/level") == level(video)
        played = PlayedEpisode.load(training_path(run.path, line["episode"]))
        assert played.score is not None
        assert played.score.level == level(video)
        assert played.phase == line["phase"]
    assert len(labels.videos()) == total


@pytest.mark.parametrize("leaves", [0, 4, 8])
def test_a_run_that_is_stopped_while_it_waits_loses_no_rating(
    config: ExperimentConfig, page: tuple[str, LabelFolder], tmp_path: Path, leaves: int
) -> None:
    url, labels = page
    run = open_run(config, tmp_path / "stopped", resume=False)
    person = LatePerson(labels, leaves)
    register(url, person)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(config, run, behind=BEHIND)
    person.leaves = None
    fine_tune(config, run, behind=BEHIND)
    total = EPISODES + VALIDATION
    assert len(labels.videos()) == len(set(person.rated)) == len(person.rated) == total
    lines, learned, said = outcome(run.path)

    again = LabelFolder(tmp_path / "other")
    whole = open_run(config, tmp_path / "whole", resume=False)
    undisturbed = HumanReward(FolderMailbox(again.path), sleep=LatePerson(again))
    register_reward_model(NAME, lambda: undisturbed, replace=True)
    fine_tune(config, whole, behind=BEHIND)
    assert outcome(whole.path) == (lines, learned, said)


def test_waiting_episodes_are_in_the_checkpoint(
    config: ExperimentConfig, page: tuple[str, LabelFolder], tmp_path: Path
) -> None:
    url, labels = page
    run = open_run(config, tmp_path / "run", resume=False)
    register(url, LatePerson(labels, 5))
    with pytest.raises(KeyboardInterrupt):
        fine_tune(config, run, behind=BEHIND)
    state = load_checkpoint(run.path / "training" / CHECKPOINT)
    assert len(state["waiting"]) == BEHIND
    assert len(state["metrics"]) + BEHIND == len(labels.videos()) - 1


def test_nobody_is_asked_about_evaluations_in_simulation(
    config: ExperimentConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    human = dataclasses.replace(config, reward_model=f"human:{tmp_path / 'labels'}?wait_s=1")
    with closing(EpisodeRunner(policy_spec(human))) as runner:
        outcome = runner.play(1)
    assert math.isnan(outcome.predicted)
    assert outcome.level >= 1
    assert not (tmp_path / "labels").exists()
    assert not caplog.records


@pytest.mark.parametrize(
    ("reward_model", "reward_map", "said"),
    [
        ("constant:3", "progress", "Only a person may be behind"),
        (NAME, "guarded:progress?endings=2", "takes no guard"),
    ],
)
def test_only_people_may_be_behind(
    config: ExperimentConfig, tmp_path: Path, reward_model: str, reward_map: str, said: str
) -> None:
    person = HumanReward(ServerMailbox("http://127.0.0.1:9"))
    register_reward_model(NAME, lambda: person, replace=True)
    other = dataclasses.replace(config, reward_model=reward_model, reward_map=reward_map)
    with pytest.raises(InvalidSetting, match=said):
        fine_tune(other, open_run(other, tmp_path / "run", resume=False), behind=2)


@pytest.mark.parametrize("argv", [["--episodes-behind", "-1"], ["--robot", "ros2", "--episodes-behind", "2"]])  # fmt: skip
def test_a_number_behind_that_makes_no_sense_is_refused(argv: list[str]) -> None:
    with pytest.raises(InvalidSetting, match="--episodes-behind"):
        parse(["toy-on-towel-human", *argv])
