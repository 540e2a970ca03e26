"""A small reward model for any environment that says its own level: from played episodes to a checkpoint that the wrapper loads."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch

from reward_models.data import published
from reward_models.data.example import Example, examples
from reward_models.data.sources import ReadOptions
from reward_models.nano.teach.config import Episodes, TeachConfig, Tower
from reward_models.nano.teach.dataset import (
    JOURNAL,
    choose_prefixes,
    collect,
    examples_of,
    read_episodes,
)
from reward_models.nano.teach.episodes import EpisodePlayer, Recorded
from reward_models.nano.teach.levels import InvalidLevel, LevelReader
from reward_models.nano.teach.report import REPORT
from reward_models.nano.teach.run import even, teach
from reward_models.nano.teach.tower import UNKNOWN, draw_clip, level_loss
from reward_models.qwen3vl.roboreward import RoboReward
from reward_models.training.config import SftConfig
from reward_models.training.questions import Question
from roboreward_gym import Clip, VLMRewardWrapper
from roboreward_gym.errors import InvalidSetting, NoFrames, WeightsError

TASK = "walk to the right"
SIDE = 64


class Walker(gym.Env):
    """A white square that walks to the right or back; it starts anywhere on the left."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 4}
    observation_space = gym.spaces.Box(0, 1, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(
        self, render_mode: str | None = None, *, seeded: bool = True, key: str = "done"
    ) -> None:
        self.render_mode, self._seeded, self._key = render_mode, seeded, key
        self.place, self._resets = 0.0, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._resets += (
            1  # without the seed, two resets that follow each other may still look alike
        )
        rng = self.np_random if self._seeded else np.random.default_rng(self._resets // 3)
        self.place = float(rng.uniform(0, 0.6))
        return np.array([self.place], np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.place = float(np.clip(self.place + (0.12 if action else -0.12), 0, 1))
        return np.array([self.place], np.float32), 0.0, False, False, {self._key: self.place}

    def render(self) -> np.ndarray:
        picture = np.zeros((SIDE, SIDE, 3), np.uint8)
        left = int(self.place * (SIDE - 16))
        picture[24:40, left : left + 16] = 255
        return picture


class Blind(Walker):
    metadata: ClassVar = {"render_modes": ["human"], "render_fps": 4}


def level_of_walker(env: gym.Env, info: Mapping[str, Any]) -> dict[str, int]:
    """Two tasks: to the right and to the left."""
    walker = env.unwrapped
    assert isinstance(walker, Walker)
    place = walker.place
    return {TASK: 1 + int(place * 4.99), "walk to the left": 5 - int(place * 4.99)}


def walk_right(env: gym.Env, rng: np.random.Generator) -> Callable[[Any], int]:
    return lambda _: 1


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    for name, kind, limit in (
        ("Walker", "Walker", 8),
        ("Blind", "Blind", 8),
        ("Endless", "Walker", None),
    ):
        gym.register(f"{name}Test-v0", entry_point=f"{__name__}:{kind}", max_episode_steps=limit)
    yield
    for name in ("WalkerTest", "BlindTest", "EndlessTest"):
        del gym.registry[f"{name}-v0"]


def config(out: Path, **changes: Any) -> TeachConfig:
    settings: dict[str, Any] = {
        "env": "WalkerTest-v0",
        "level": "done",
        "task": TASK,
        "thresholds": (0.2, 0.4, 0.6, 0.8),
        "out": out,
        "policy": ("random", f"{__name__}:walk_right"),
        "episodes": Episodes(train=6, val=3, test=3),
        "threads": 1,
    }
    return TeachConfig(**{**settings, **changes})


def rows_of(folder: Path, split: str) -> list[Example]:
    return list(examples(published.read(folder, ReadOptions(split=split))))


# Levels


@pytest.mark.parametrize(
    ("value", "level"), [(0.0, 1), (0.2, 2), (np.float32(0.5), 3), (0.79, 4), (7, 5)]
)
def test_thresholds_say_from_which_value_on_a_level_is_reached(tmp_path: Path, value: object, level: int) -> None:  # fmt: skip
    assert LevelReader(config(tmp_path))(gym.Env(), {"done": value}) == {TASK: level}


def test_levels_as_they_are_and_unknown_ones(tmp_path: Path) -> None:
    read = LevelReader(config(tmp_path, thresholds=None))
    assert read(gym.Env(), {"done": np.int64(4)}) == {TASK: 4}
    assert read(gym.Env(), {}) == {}


@pytest.mark.parametrize("value", [0.5, 0, 6, True, "high", float("nan"), None])
def test_what_is_no_level_is_refused(tmp_path: Path, value: object) -> None:
    read = LevelReader(config(tmp_path, thresholds=None))
    if value is None:
        assert read(gym.Env(), {"done": None}) == {}
        return
    with pytest.raises(InvalidLevel, match=r"no level of 1 to 5|no number"):
        read(gym.Env(), {"done": value})


def test_a_number_needs_a_task(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="--task TEXT"):
        LevelReader(config(tmp_path, task=""))(gym.Env(), {"done": 0.5})


def test_falling_thresholds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="must rise"):
        config(tmp_path, thresholds=(0.2, 0.6, 0.4, 0.8))


# Playing


def test_an_episode_is_recorded_with_the_level_of_each_frame(tmp_path: Path) -> None:
    player = EpisodePlayer(config(tmp_path, policy=(f"{__name__}:walk_right",), episodes=Episodes(random_share=0.0)))  # fmt: skip
    played = player.play(3)
    assert played.frames.shape == (9, SIDE, SIDE, 3)
    assert played.fps == 4.0
    assert played.levels[0] == {}  # the reset says nothing
    lefts = [int(np.flatnonzero(f[30].any(-1))[0]) for f in played.frames]
    found = [
        1 + sum(left / (SIDE - 16) >= t - 0.02 for t in (0.2, 0.4, 0.6, 0.8)) for left in lefts
    ]
    assert [levels[TASK] for levels in played.levels[1:]] == found[1:]
    again = player.play(3)
    np.testing.assert_array_equal(again.frames, played.frames)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"env": "BlindTest-v0"}, NoFrames, "draws no pictures.*--frame-source"),
        ({"env": "WalkerTst-v0"}, InvalidSetting, "cannot be made.*Correct --env"),
        ({"env_options": '{"speed": 2}'}, InvalidSetting, "cannot be made with .*speed"),
        ({"level": "progress"}, InvalidLevel, "has no 'progress'.*there was done. Name one"),
        ({"env_options": '{"seeded": false}'}, InvalidSetting, "look different.*--allow-unseeded"),
    ],
)
def test_environments_that_cannot_be_used(tmp_path: Path, changes: dict, error: type[Exception], message: str) -> None:  # fmt: skip
    with pytest.raises(error, match=message):
        collect(config(tmp_path, **changes))


def test_an_endless_episode_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reward_models.nano.teach.episodes.LONGEST", 20)
    with pytest.raises(InvalidSetting, match=r"not ended after 20 steps.*--episodes.max-steps"):
        collect(config(tmp_path, env="EndlessTest-v0"))


def test_no_json_in_options_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="no JSON"):
        config(tmp_path, env_options="{width: 3}")


# The data set


def test_prefixes_show_the_levels_that_the_end_does_not() -> None:
    levels = [None, 1, 1, 1, 2, 2, 3, 3, 3, 5]
    for seed in range(20):
        chosen = choose_prefixes(levels, 2, np.random.default_rng(seed))
        found = {levels[count - 1] for count in chosen}
        assert len(found) == 2
        assert found <= {1, 2, 3}
        assert all(2 <= count < len(levels) for count in chosen)


def test_other_tasks_are_counterfactuals(tmp_path: Path) -> None:
    levels = tuple({TASK: n, "stand still": 6 - n} for n in (1, 2, 3, 4, 5))
    played = Recorded(np.zeros((5, 32, 32, 3), np.uint8), 4.0, levels, "random")
    found = list(examples_of(played, config(tmp_path), np.random.default_rng(0)))
    assert found[:2] == [(5, TASK, 5, "organic"), (5, "stand still", 1, "counterfactual")]
    assert all(kind == "truncated" and level == count for count, _, level, kind in found[2:])


def test_collected_videos_have_the_level_of_their_last_frame(tmp_path: Path) -> None:
    folder = collect(config(tmp_path, level=f"{__name__}:level_of_walker", thresholds=None))
    rows = [row for split in ("train", "val", "test") for row in rows_of(folder, split)]
    assert len({row.source_episode for row in rows}) == 12
    assert {row.kind for row in rows} == {"organic", "truncated", "counterfactual"}
    for row in rows:
        frames = row.video.read().frames
        assert len(frames) == round(9 * row.kept)
        last = frames[-1]
        place = np.flatnonzero(last[30, :, 0] > 128)[0] / (SIDE - 16)
        right = 1 + int(min(place + 0.01, 1.0) * 4.99)
        assert row.reward is not None
        assert abs(row.reward - (right if row.task == TASK else 6 - right)) <= 1
    assert len(read_episodes(folder, "train")) == 6


def test_collecting_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    whole = collect(config(tmp_path / "a"))
    part = config(tmp_path / "b")
    collect(part)
    journal = tmp_path / "b" / "data" / JOURNAL
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:4]) + lines[4][:30])  # killed while it wrote the fifth
    for split in ("train", "val", "test"):
        (tmp_path / "b" / "data" / split / "metadata.jsonl").unlink()
    again = collect(part)
    for split in ("train", "val", "test"):
        first, second = (
            {r.video.where.split("/")[-1]: (r.reward, r.kind) for r in rows_of(f, split)}
            for f in (whole, again)
        )
        assert first == second


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    collect(config(tmp_path))
    with pytest.raises(WeightsError, match="other values of thresholds"):
        collect(config(tmp_path, thresholds=(0.1, 0.2, 0.3, 0.4)))


def test_episodes_of_one_level_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidLevel, match=r"All \d+ clips .* have the level 1.*--policy"):
        collect(config(tmp_path, thresholds=(2.0, 3.0, 4.0, 5.0)))


# The tower and the language model


def test_labels_of_the_tower_are_the_levels_of_the_later_frames(tmp_path: Path) -> None:
    folder = collect(config(tmp_path))
    episode = read_episodes(folder, "train")[0]
    rng = np.random.default_rng(0)
    for _ in range(5):
        clip = draw_clip(episode, [TASK, "unknown task"], rng)
        assert clip.labels.shape == (clip.grid[0], 2)
        assert (clip.labels[:, 1] == UNKNOWN).all()
        known = {levels[TASK] - 1 for levels in episode.levels if levels}
        assert set(clip.labels[:, 0].tolist()) <= known | {UNKNOWN}
        logits = torch.nn.functional.one_hot(clip.labels.clamp(min=0), 5).float() * 50
        tokens = clip.grid[1] * clip.grid[2] // 4
        loss, numbers = level_loss(logits.flatten(1).repeat_interleave(tokens, 0), [clip])
        assert loss < 1e-3
        assert numbers["level_error"] == 0


def test_rare_levels_are_shown_as_often_as_frequent_ones() -> None:
    questions = [Question(n, "?", "!", level) for n, level in enumerate([1] * 12 + [2] * 6 + [5])]
    shown = [question.level for question in even(questions)]
    assert (shown.count(1), shown.count(2), shown.count(5)) == (12, 12, 4)


def test_from_an_environment_to_a_reward(tmp_path: Path) -> None:
    quick = SftConfig(
        steps=2, batch_size=4, accumulation=1, precision="float32", gradient_checkpointing=False,
        device="cpu", validate_every=2, order="random",
    )  # fmt: skip
    # With fewer the own world is hardly known, and some of its videos are refused.
    episodes = Episodes(train=12, val=6, test=3)
    tower = Tower(steps=2, batch_size=2, warmup=1)
    settings = config(tmp_path, tower=tower, language=quick, episodes=episodes)
    folder = teach(settings)
    report = json.loads((tmp_path / REPORT).read_text())
    assert report["episodes"] == 3
    assert 0 <= report["macro_mae"] <= 4
    assert sum(map(sum, report["confusion"])) == report["examples"]
    env = VLMRewardWrapper(
        gym.make("WalkerTest-v0", render_mode="rgb_array"), f"checkpoint:{folder}", TASK
    )
    env.reset(seed=0)
    ended = False
    while not ended:
        _, reward, ended, _, info = env.step(1)
    assert info["roboreward/level"] in (1, 2, 3, 4, 5)
    assert reward == (info["roboreward/level"] - 1) / 4
    model = RoboReward(folder, device="cpu")
    own = env.last_clip
    stripes = np.tile(np.where(np.arange(SIDE) // 4 % 2, 255, 0)[:, None, None], (9, 1, SIDE, 3))
    elsewhere = Clip(stripes.astype(np.uint8), TASK, own.fps)
    scores = model.score([own, elsewhere, replace(own, task="walk to the left")])
    assert [score.level is None for score in scores] == [False, True, True]
    assert "unlike those of its training" in scores[1].text
    assert "does not know the words: left" in scores[2].text
    assert report["abstained"] == 0
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert teach(settings) == folder  # all of it is there
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
