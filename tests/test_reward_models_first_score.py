"""A user's first score: nothing is printed that nobody asked for, and nothing is imported that nano does not need."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from reward_models.nano import WEIGHTS
from reward_models.qwen3vl.plain import is_plain, load_plain
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym import Clip, load_reward_model
from roboreward_gym.errors import InvalidSetting, WeightsError
from tests.tiny_vlm import write_tiny_checkpoint

UNNEEDED = ("transformers", "huggingface_hub", "torch._dynamo", "torchvision", "sklearn", "scipy", "pandas", "av", "cv2")  # fmt: skip
SCORE = """
import json, sys
import numpy as np
from roboreward_gym import Clip, load_reward_model
frames = np.zeros((6, 96, 96, 3), np.uint8)
frames[:, ::2] = 200
{load}
model.score([Clip(frames, "put the duck on the towel", 5.0)])
json.dump(sorted(sys.modules), open(sys.argv[1], "w"))
"""
BY_NAME = "model = load_reward_model('roboreward-nano')"
BY_TRANSFORMERS = """
from reward_models.nano import WEIGHTS
from reward_models.qwen3vl.roboreward import RoboReward
model = RoboReward(WEIGHTS, device="cpu", library="transformers")
"""


def fresh_process(load: str, path: Path) -> tuple[str, list[str]]:
    """What a fresh process that scores one clip prints, and which modules it has then."""
    command = [sys.executable, "-c", SCORE.format(load=load), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr, json.loads(path.read_text())


def test_first_score_prints_nothing_and_imports_only_what_nano_needs(tmp_path: Path) -> None:
    printed, modules = fresh_process(BY_NAME, tmp_path / "modules.json")
    assert printed == ""
    assert "torch" in modules
    assert set(UNNEEDED) & set(modules) == set()


def test_first_score_through_transformers_prints_nothing(tmp_path: Path) -> None:
    printed, modules = fresh_process(BY_TRANSFORMERS, tmp_path / "modules.json")
    assert printed == ""
    assert "transformers" in modules


def clips() -> list[Clip]:
    """Two sizes, odd and even numbers of frames, tasks of different lengths."""
    rng = np.random.default_rng(0)
    shapes = (
        (9, 96, 128, "open the left drawer"),
        (24, 160, 96, "pick up the duck"),
        (9, 96, 128, "put the block on the plate, please"),
    )
    return [
        Clip(rng.integers(0, 256, (n, h, w, 3), dtype=np.uint8), task, 5.0)
        for n, h, w, task in shapes
    ]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_plain_forward_equals_that_of_transformers_bit_for_bit(batch_size: int) -> None:
    load = partial(RoboReward, WEIGHTS, device="cpu", batch_size=batch_size, abstain=False)
    ours, theirs = load(library="torch"), load(library="transformers")
    for mine, other in zip(ours.score(clips()), theirs.score(clips()), strict=True):
        np.testing.assert_array_equal(mine.probabilities, other.probabilities)
        assert mine.off_format == other.off_format
        assert (mine.manifest["library"], other.manifest["library"]) == ("torch", "transformers")


def test_other_variants_go_through_transformers(tmp_path: Path) -> None:
    """The tiny checkpoint of the tests feeds its deepstack, as the 4B and 8B do."""
    folder = write_tiny_checkpoint(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["deepstack_visual_indexes"] = [0]
    (folder / "config.json").write_text(json.dumps(config))
    assert not is_plain(folder)
    with pytest.raises(InvalidSetting, match="library='transformers'"):
        RoboReward(folder, device="cpu", library="torch")


def test_options_of_transformers_go_through_transformers() -> None:
    model = load_reward_model("roboreward-nano?attention=eager")
    assert isinstance(model, RoboReward)
    assert model.manifest["library"] == "transformers"
    with pytest.raises(InvalidSetting, match="decode='text' needs library='transformers'"):
        RoboReward(WEIGHTS, device="cpu", library="torch", decode="text")


def test_lost_weights_are_named(tmp_path: Path) -> None:
    weights = load_file(WEIGHTS / "model.safetensors")
    del weights["model.visual.merger.linear_fc2.bias"]
    (tmp_path / "config.json").write_bytes((WEIGHTS / "config.json").read_bytes())
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"no weights for .*merger.linear_fc2.bias"):
        load_plain(tmp_path, torch.float32, torch.device("cpu"))
