import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from policies.demos import Demos
from policies.errors import InvalidDemos, RunMismatch
from policies.policy import DiffusionPolicy, PolicyConfig
from policies.pretrain import POLICY, PretrainConfig, Trainer, command_line, pretrain

SIZES = PolicyConfig(maps=3, vision_width=4, width=16, layers=1, heads=2)


@pytest.fixture
def config(tmp_path: Path) -> PretrainConfig:
    """A white dot to be pointed at, and actions that follow it: 4 episodes of 6 rows."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, (24, 96, 128, 3)).astype(np.uint8)
    rows, columns = rng.integers(20, 76, 24), rng.integers(20, 108, 24)
    for image, row, column in zip(images, rows, columns, strict=True):
        image[row - 4 : row + 5, column - 4 : column + 5] = 255
    place = np.stack([(columns + 0.5) / 128, (rows + 0.5) / 96, np.ones(24)], 1)
    actions = np.zeros((24, 7))
    actions[:, :2] = place[:, :2] - 0.5
    demos = Demos(
        images=images,
        states=rng.normal(size=(24, 7)).astype(np.float32),
        actions=actions.astype(np.float32),
        landmarks=place[:, None].astype(np.float32),
        episode_ends=np.arange(6, 25, 6),
        names=("dot",),
        task="point at the dot",
        fps=5.0,
    )
    demos.save(tmp_path / "demos")
    return PretrainConfig(
        demos=tmp_path / "demos",
        out=tmp_path / "run",
        steps=8,
        vision_steps=4,
        batch=4,
        warm_up=1,
        held_out=0.25,
        save_every=2,
        policy=SIZES,
    )


def weights(policy: DiffusionPolicy) -> torch.Tensor:
    return torch.cat([value.flatten() for value in policy.state_dict().values()])


def test_run_leaves_policy_metrics_and_half_trained_policies(config: PretrainConfig) -> None:
    policy = pretrain(replace(config, save_at=(3,)))
    assert policy.config.landmarks == ("dot",)
    assert policy.config.task == "point at the dot"
    lines = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6, 8]
    half = DiffusionPolicy.load(config.out / "step-3")
    assert not torch.equal(weights(half), weights(policy))
    assert torch.equal(weights(DiffusionPolicy.load(config.out / POLICY)), weights(policy))


@pytest.mark.parametrize("stop", [2, 6], ids=["while seeing is learned", "after"])
def test_resumed_run_equals_uninterrupted(config: PretrainConfig, stop: int) -> None:
    whole = pretrain(config)
    cut = replace(config, out=config.out.with_name("cut"))
    update, done = Trainer.update, []

    def interrupted(trainer: Trainer) -> dict[str, float]:
        if len(done) == stop + 1:  # one step beyond the checkpoint
            raise KeyboardInterrupt
        done.append(0)
        return update(trainer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "update", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pretrain(cut)
    assert torch.equal(weights(pretrain(cut, resume=True)), weights(whole))
    lines = [run / "metrics.jsonl" for run in (config.out, cut.out)]
    assert lines[0].read_text() == lines[1].read_text()


def test_frozen_encoder_stays(config: PretrainConfig) -> None:
    trainer = Trainer(config, Demos.load(config.demos))
    for _ in range(5):
        trainer.update()
    seen = trainer.policy.vision.stem.weight.clone()
    for _ in range(3):
        trainer.update()
    assert torch.equal(trainer.policy.vision.stem.weight, seen)
    assert torch.equal(trainer.average.vision.stem.weight, seen)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_first_steps_are_drawn_as_often_as_was_asked(config: PretrainConfig, share: float) -> None:
    trainer = Trainer(replace(config, start_share=share), Demos.load(config.demos))
    rows = np.concatenate([trainer._draw(40) for _ in range(50)])
    assert set(rows) == set(range(18))  # the fourth episode is held out
    firsts = np.isin(rows, [0, 6, 12]).mean()
    assert firsts == pytest.approx(share + (1 - share) * 3 / 18, abs=0.03)


def test_seeing_and_acting_improve(config: PretrainConfig) -> None:
    sizes = replace(SIZES, vision_width=8)
    config = replace(config, steps=10_000, vision_steps=10_000, batch=16, ema=0.9, policy=sizes)
    trainer = Trainer(config, Demos.load(config.demos))
    before = trainer.measure()
    for _ in range(30):
        trainer.update()
    after = trainer.measure()
    assert after["landmark_px"] < 0.5 * before["landmark_px"]
    assert after["action_error"] < before["action_error"]


def test_other_config_needs_another_folder(config: PretrainConfig) -> None:
    pretrain(replace(config, steps=1))
    with pytest.raises(RunMismatch, match="steps 1"):
        pretrain(config, resume=True)


def test_missing_demonstrations_leave_no_run(config: PretrainConfig) -> None:
    with pytest.raises(InvalidDemos):
        pretrain(replace(config, demos=config.out))
    assert not config.out.exists()


def test_command_line_trains(config: PretrainConfig) -> None:
    options = {"demos": config.demos, "out": config.out, "steps": 1, "batch": 2, "threads": 1}
    sizes = {"maps": 3, "vision-width": 4, "width": 16, "layers": 1, "heads": 2}
    words = [(f"--{name}", str(value)) for name, value in (options | sizes).items()]
    command_line([word for pair in words for word in pair])
    assert DiffusionPolicy.load(config.out / POLICY).config.width == 16
