"""Checkpoints that a training of nano has kept become reward models of the study."""

import dataclasses
import json
from pathlib import Path

import pytest

from experiments.study.checkpoints import CheckpointsArgs, main, model_of, result_of
from reward_models.nano.config import LANGUAGE, TowerConfig, TrainConfig
from reward_models.nano.stages import train
from reward_models.qwen3vl.checkpoint import weights_sha256
from roboreward_gym.errors import InvalidSetting
from tests.reward_folder import write_reward_folder
from tests.tiny_vlm import TINY


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of three steps that kept the checkpoint of each."""
    root = tmp_path_factory.mktemp("nano")
    data = (
        write_reward_folder(root / "train", 4, size=(32, 64)),
        write_reward_folder(root / "val", 3, size=(32, 64), split="validation", seed=50),
    )
    language = dataclasses.replace(
        LANGUAGE, steps=3, batch_size=2, warmup=1, validate_every=1, keep_checkpoints=True
    )
    tower = TowerConfig(steps=1, batch_size=2, warmup=1, shift_px=2)
    train(
        TrainConfig(
            data, root / "run", size=TINY, tower=tower, language=language, threads=1, validation_examples=24
        )
    )  # fmt: skip
    return root / "run"


def test_each_kept_checkpoint_becomes_a_model_and_is_measured(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = write_reward_folder(tmp_path / "test", 3, size=(32, 64), split="test", seed=90)
    out = tmp_path / "checkpoints"
    assert main(CheckpointsArgs(run, (test,), out, steps=(3, 1))) == 0
    assert [json.loads(result_of(out, step).read_text())["examples"] for step in (1, 3)] == [6, 6]
    hashes = {weights_sha256(model_of(out, step)) for step in (1, 3)}
    assert len(hashes) == 2
    assert f"drawer-checkpoint:{model_of(out, 1)}" in capsys.readouterr().out


def test_a_checkpoint_that_was_not_kept_is_refused_and_the_kept_ones_are_named(
    run: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidSetting, match=r"step 7; there are 1, 2, 3\. Train with"):
        main(CheckpointsArgs(run, (tmp_path,), tmp_path / "out", steps=(1, 7)))
