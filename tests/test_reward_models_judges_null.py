"""Null reward models know nothing about success, and return the same score for the same clip."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from reward_models.judges.null import ClockReward, ConstantReward, RandomReward
from reward_models.protocol.frames import thinned_indices
from roboreward_gym.errors import InvalidScore, InvalidSetting, RewardModelUnavailable
from roboreward_gym.registry import load_reward_model, reward_model_names
from roboreward_gym.types import Clip, RewardModel
from tests.fake_api import a_clip

ROOT = Path(__file__).resolve().parents[1]


def levels(model: RewardModel, clips: list[Clip]) -> list[int | None]:
    return [score.level for score in model.score(clips)]


def still(seconds: float, fps: float = 5.0) -> Clip:
    return Clip(np.zeros((round(seconds * fps), 2, 2, 3), np.uint8), "wait", fps)


def test_random_levels_depend_on_the_clip_and_not_on_the_order() -> None:
    clips = [a_clip(frames=2, size=4, seed=seed) for seed in range(20)]
    forwards = levels(RandomReward(3), clips)
    assert levels(RandomReward(3), clips[::-1]) == forwards[::-1]
    assert [levels(RandomReward(3), [clip])[0] for clip in clips] == forwards


def test_random_levels_depend_on_seed_task_and_pixels() -> None:
    clips = [a_clip(frames=2, size=4, seed=seed) for seed in range(40)]
    assert levels(RandomReward(0), clips) != levels(RandomReward(1), clips)
    other_task = [Clip(clip.frames, "another task", clip.fps) for clip in clips]
    assert levels(RandomReward(0), clips) != levels(RandomReward(0), other_task)


def test_random_levels_do_not_depend_on_how_the_frames_lie_in_memory() -> None:
    clip = a_clip(seed=1)
    view = Clip(np.asfortranarray(clip.frames), clip.task, clip.fps)
    assert levels(RandomReward(), [clip]) == levels(RandomReward(), [view])


def test_random_levels_do_not_depend_on_thinning() -> None:
    rng = np.random.default_rng(0)
    for total in (20, 41, 60, 77):
        frames = rng.integers(0, 256, (total, 8, 8, 3), dtype=np.uint8)
        kept = thinned_indices(total, 10.0, 0)
        thinned = Clip(frames[kept], "x", 10.0, kept, total)
        assert levels(RandomReward(), [thinned]) == levels(
            RandomReward(), [Clip(frames, "x", 10.0)]
        )


def test_random_levels_are_all_as_likely() -> None:
    clips = [a_clip(frames=1, size=2, seed=seed) for seed in range(1000)]
    counts = Counter(levels(RandomReward(), clips))
    assert sorted(counts) == [1, 2, 3, 4, 5]
    assert max(counts.values()) < 260


@pytest.mark.parametrize(
    ("seconds", "level"), [(0.4, 1), (1.4, 1), (2.0, 2), (4.0, 3), (5.6, 4), (8.0, 5), (80.0, 5)]
)
def test_the_clock_looks_at_the_duration_only(seconds: float, level: int) -> None:
    assert levels(ClockReward(8.0), [still(seconds)]) == [level]


def test_the_clock_agrees_with_the_truncated_clips_of_the_recipe() -> None:
    parts = [still(20 * part, fps=10) for part in (0.1, 0.3, 0.5, 0.7, 1.0)]
    assert levels(ClockReward(20.0), parts) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("full_s", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_duration_is_refused(full_s: float) -> None:
    with pytest.raises(InvalidSetting, match="above 0 s"):
        ClockReward(full_s)


def test_null_models_are_registered_by_name() -> None:
    clip = still(4.0)
    assert levels(load_reward_model("constant:2"), [clip]) == [2]
    assert levels(load_reward_model("constant"), [clip]) == [3]
    assert levels(load_reward_model("clock"), [clip]) == [3]
    assert levels(load_reward_model("clock:4"), [clip]) == [5]
    assert levels(load_reward_model("random:5"), [clip]) == levels(RandomReward(5), [clip])
    assert levels(load_reward_model("random"), [clip]) == levels(RandomReward(0), [clip])


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("constant:six", InvalidSetting),
        ("constant:6", InvalidScore),
        ("random:x", InvalidSetting),
        ("clock:soon", InvalidSetting),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(name: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        load_reward_model(name)


def test_null_models_return_certain_scores() -> None:
    for model in (ConstantReward(2), RandomReward(), ClockReward()):
        (score,) = model.score([still(2.0)])
        assert score.probabilities is not None
        assert score.probabilities.max() == 1.0
        assert score.manifest["model"]


def test_entry_point_module_imports_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "openai", "google.genai", "httpx", "fastapi", "PIL", "av")
    code = "import sys; import reward_models.judges.by_name\n"
    code += "from roboreward_gym.registry import load_reward_model; load_reward_model('random')\n"
    code += f"print([name for name in {heavy} if name in sys.modules])"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [
        ("openai:gpt-5", "openai", "api"),
        ("gemini:gemini-3-pro", "google.genai", "api"),
        ("remote:http://127.0.0.1:1", "httpx", "remote"),
    ],
)
def test_missing_library_raises_with_install_advice(
    name: str, library: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [m for m in sys.modules if m.startswith("reward_models.")]:
        monkeypatch.delitem(sys.modules, module)
    if library == "google.genai":
        import google

        monkeypatch.delattr(google, "genai", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(RewardModelUnavailable, match=rf"pip install '\.\[{extra}\]'"):
        load_reward_model(name)


def test_documented_names_are_registered() -> None:
    documented = (ROOT / "docs" / "models_by_name.md").read_text(encoding="utf-8")
    names = set(re.findall(r"--model ([a-z0-9-]+)", documented))
    assert {"openai", "gemini", "remote", "constant", "random", "clock"} < names
    assert names <= set(reward_model_names())
