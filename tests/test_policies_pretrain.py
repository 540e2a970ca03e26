import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from policies import pretrain as pretrain_module
from policies.demos import Demos
from policies.errors import InvalidDemos, RunMismatch
from policies.policy import DiffusionPolicy, PolicyConfig
from policies.pretrain import (
    MAX_GRAD_NORM,
    POLICY,
    PretrainConfig,
    Trainer,
    command_line,
    pretrain,
)
from roboreward_gym.errors import InvalidSetting

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


def parameters(policy: DiffusionPolicy) -> torch.Tensor:
    return torch.cat([p.detach().flatten().clone() for p in policy.parameters()])


def trainer_of(config: PretrainConfig, **changes: Any) -> Trainer:
    return Trainer(replace(config, **changes), Demos.load(config.demos))


def test_average_of_three_known_steps(config: PretrainConfig) -> None:
    trainer = trainer_of(config, ema=0.2, lr=0.05)
    steps = []
    for _ in range(3):
        trainer.update()
        steps.append(parameters(trainer.policy))
    first = 2 / 11 * steps[0] + 9 / 11 * steps[1]  # the decay rises: (1 + 1) / (10 + 1)
    assert not torch.allclose(steps[1], steps[2], atol=1e-3)
    assert torch.allclose(parameters(trainer.average), 0.2 * first + 0.8 * steps[2], atol=1e-6)


def test_saved_policy_is_the_average(config: PretrainConfig, monkeypatch: Any) -> None:
    trainers: list[Trainer] = []
    original = Trainer.__init__

    def remember(trainer: Trainer, *arguments: Any) -> None:
        original(trainer, *arguments)
        trainers.append(trainer)

    monkeypatch.setattr(Trainer, "__init__", remember)
    saved = pretrain(replace(config, save_at=(3,), lr=0.05))
    assert torch.allclose(parameters(saved), parameters(trainers[0].average), atol=1e-3), (
        "but for the 16 bits"
    )
    assert not torch.allclose(parameters(saved), parameters(trainers[0].policy), atol=3e-3)


def test_learning_rate_rises_and_decays_in_each_stage(config: PretrainConfig) -> None:
    trainer = trainer_of(config, steps=12, vision_steps=4, warm_up=2, lr=0.1)
    rates = []
    for _ in range(12):
        rates.append(trainer.optimiser.param_groups[0]["lr"])
        trainer.update()

    def cosine(part: float) -> float:
        return 0.05 * (1 + math.cos(math.pi * part))

    first = [0.5 * cosine(0), *(cosine(n / 4) for n in (1, 2, 3))]
    second = [0.5 * cosine(0), *(cosine(n / 8) for n in range(1, 8))]
    assert rates == pytest.approx(first + second)


def test_noise_is_added_to_frozen_features(
    config: PretrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    loss = pretrain_module.training_loss

    def watch(*arguments: Any) -> torch.Tensor:
        seen.append(arguments[4])
        return loss(*arguments)

    monkeypatch.setattr(pretrain_module, "training_loss", watch)
    trainer = trainer_of(config, vision_steps=0, feature_noise=0.3, batch=64)
    for _ in range(4):
        trainer.update()
    frozen = trainer.features
    assert frozen is not None
    noise = torch.cat([rows - frozen[nearest(rows, frozen)] for rows in seen])
    assert noise.std().item() == pytest.approx(0.3, abs=0.05)
    seen.clear()
    silent = trainer_of(config, vision_steps=0, feature_noise=0.0, batch=64)
    silent.update()
    assert silent.features is not None
    assert torch.equal(seen[0], silent.features[nearest(seen[0], silent.features)])


def nearest(rows: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    return torch.cdist(rows, candidates).argmin(1)


def test_gradients_are_clipped(config: PretrainConfig) -> None:
    trainer = trainer_of(config, landmark_weight=1e6)
    trainer.update()
    grads = [p.grad for p in trainer.policy.parameters() if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(grads).item()
    assert norm == pytest.approx(MAX_GRAD_NORM, rel=1e-4)


def test_missing_device_is_named_and_leaves_no_run(config: PretrainConfig) -> None:
    with pytest.raises(InvalidSetting, match="'cuda:99' is not available"):
        pretrain(replace(config, device="cuda:99"))
    assert not config.out.exists()


def test_resume_without_a_run_says_so(config: PretrainConfig) -> None:
    with pytest.raises(RunMismatch, match=r"no run in .* to resume"):
        pretrain(config, resume=True)
    assert not config.out.exists()


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
