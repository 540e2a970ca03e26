"""Behaviour cloning of the base policy: `python -m policies.pretrain --demos DIR --out DIR`.

First the image encoder and the denoiser learn together; the encoder also learns to point at the
landmarks that the simulator labelled. Then the encoder is frozen, as it will be during reinforcement
learning, the features of every frame are computed once, and only the denoiser goes on: on a CPU an
image costs four times as much as the denoising of one chunk.
"""

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import tyro
from diffusers import DDPMScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from tqdm import trange

from policies.checkpoint import (
    CHECKPOINT,
    CONFIG,
    METRICS,
    append_metrics,
    keep_lines,
    open_run,
    restore,
    save_checkpoint,
    state_of,
)
from policies.demos import Demos
from policies.diffusion import SCHEDULER, training_loss
from policies.errors import RunMismatch
from policies.policy import DiffusionPolicy, PolicyConfig
from policies.settings import available_device
from policies.vision import IMAGE_SIZE, augment, landmark_loss
from roboreward_gym._cli import keep_freed_memory, run_program

POLICY = "policy"
"""Folder of the finished policy inside a run."""
MAX_GRAD_NORM = 1.0


@dataclass(frozen=True)
class PretrainConfig:
    """The settings of a pre-training run."""

    demos: Path
    """Folder of demonstrations, see `policies.demos.Demos`."""
    out: Path
    """Run folder; the policy appears in `policy/`."""
    steps: int = 4000
    """Optimiser steps in all."""
    vision_steps: int = 800
    """Steps after which the image encoder is frozen and its features are computed once."""
    seed: int = 0
    """Seed for weights, order, augmentation and noise."""
    batch: int = 64
    """Images per step while the encoder learns."""
    start_share: float = 0.0
    """Share of each batch drawn from the first steps of episodes: a policy that plays chunks decodes there in every
    episode, more often than at any other step."""
    draws: int = 2
    """Diffusion steps drawn per image; with the encoder frozen a batch is `batch * draws` frames."""
    feature_noise: float = 0.02
    """Standard deviation of noise on frozen features, as fractions of half the image."""
    lr: float = 1e-3
    """Peak learning rate, cosine to zero."""
    warm_up: int = 100
    """Steps of linear rise of the learning rate."""
    weight_decay: float = 1e-4
    """Weight decay of AdamW."""
    ema: float = 0.999
    """Decay of the averaged weights, which are what is saved and evaluated."""
    landmark_weight: float = 0.1
    """Weight of the landmark loss relative to the diffusion loss."""
    shift: int = 4
    """Largest random shift of an image in [px]."""
    held_out: float = 0.05
    """Share of the episodes kept out of training, to measure on."""
    save_at: tuple[int, ...] = ()
    """Steps after which the policy is also saved as `step-N/`: half-trained policies."""
    save_every: int = 250
    """Steps between checkpoints that `--resume` goes on from, and between measurements."""
    device: str = "cpu"
    """Torch device to train on, such as cpu or cuda."""
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    """Sizes; landmarks, task and fps are taken from the demonstrations."""


class Trainer:
    """The state of a pre-training run, and one step of it."""

    def __init__(self, config: PretrainConfig, demos: Demos) -> None:
        self.config = config
        self.demos = demos
        self.images = np.asarray(demos.images)  # into memory: random reads from disk would dominate
        self.train_rows, self.test_rows = demos.split(config.held_out)
        firsts = np.concatenate([[0], demos.episode_ends[:-1]])
        self.starts = firsts[firsts <= self.train_rows[-1]]
        names, fps = demos.names, float(demos.fps)
        sizes = replace(config.policy, landmarks=names, task=demos.task, fps=fps)
        self.device = available_device(config.device)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.policy = DiffusionPolicy(sizes)
        self.policy.state_normalizer.fit(np.asarray(demos.states)[self.train_rows])
        self.policy.action_normalizer.fit(np.asarray(demos.actions)[self.train_rows])
        self.policy.to(self.device)
        self.averaged = AveragedModel(self.policy, avg_fn=self._average)
        self.averaged.requires_grad_(requires_grad=False)
        self.optimiser = torch.optim.AdamW(
            self.policy.parameters(),
            config.lr,
            (0.9, 0.99),
            weight_decay=config.weight_decay,
            foreach=True,
        )
        self.schedule = LambdaLR(self.optimiser, lambda step: lr_factor(step, config))
        self.scheduler = DDPMScheduler(**SCHEDULER)
        self.rng = np.random.default_rng(config.seed)
        self.generator = torch.Generator(self.device).manual_seed(config.seed)
        self.parts = {
            "policy": self.policy,
            "averaged": self.averaged,
            "optimiser": self.optimiser,
            "schedule": self.schedule,
            "generator": self.generator,
        }
        self.step = 0
        self.features: Tensor | None = None  # (N, F) once the encoder is frozen

    @property
    def average(self) -> DiffusionPolicy:
        """The policy with averaged weights, which is what is measured and saved."""
        return cast(DiffusionPolicy, self.averaged.module)

    def update(self) -> dict[str, float]:
        """One optimiser step on a random batch; returns its losses."""
        c = self.config
        if self.step >= c.vision_steps and self.features is None:
            self._freeze_vision()
        frozen = self.features
        losses = self._joint_losses() if frozen is None else self._frozen_losses(frozen)
        self.optimiser.zero_grad()
        sum(losses.values(), start=torch.zeros((), device=self.device)).backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), MAX_GRAD_NORM, foreach=True)
        self.optimiser.step()
        self.schedule.step()
        self.averaged.update_parameters(self.policy)
        self.step += 1
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _average(self, average: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
        # The decay rises to its value: early averages must forget the random start.
        decay = min(self.config.ema, (1 + int(count)) / (10 + int(count)))
        return average.lerp(new, 1 - decay)

    def _joint_losses(self) -> dict[str, Tensor]:
        """Encoder and denoiser on augmented images."""
        c = self.config
        rows = self._draw(c.batch)
        images, landmarks = augment(
            self.images[rows], np.asarray(self.demos.landmarks)[rows], c.shift, self.rng
        )
        features, points, logits = self.policy.look(self._tensor(images), self._states(rows))
        repeat = [part.repeat_interleave(c.draws, 0) for part in (*self._chunks(rows), features)]
        losses = {
            "diffusion_loss": training_loss(
                self.policy.denoiser, self.scheduler, *repeat, self.generator
            )
        }
        if landmarks.size:
            pointing = landmark_loss(points, logits, self._tensor(landmarks))
            losses["landmark_loss"] = c.landmark_weight * pointing
        return losses

    def _frozen_losses(self, cached: Tensor) -> dict[str, Tensor]:
        """Denoiser alone on cached features."""
        c = self.config
        rows = self._draw(c.batch * c.draws)
        features = cached[rows]
        noise = torch.empty_like(features).normal_(0.0, c.feature_noise, generator=self.generator)
        chunks = self._chunks(rows)
        noisy = features + noise
        loss = training_loss(self.policy.denoiser, self.scheduler, *chunks, noisy, self.generator)
        return {"diffusion_loss": loss}

    @torch.no_grad()
    def _freeze_vision(self) -> None:
        """Take the averaged encoder for good and look at every frame once."""
        self.policy.vision.load_state_dict(self.average.vision.state_dict())
        for parameter in self.policy.vision.parameters():
            parameter.requires_grad = False
            parameter.grad = None  # AdamW would go on decaying parameters that have a gradient
        chunks = np.array_split(np.arange(len(self.images)), max(1, len(self.images) // 256))
        looks = [
            self.policy.look(self._tensor(self.images[rows]), self._states(rows))[0]
            for rows in chunks
        ]
        self.features = torch.cat(looks)

    @torch.no_grad()
    def measure(self, most: int = 256) -> dict[str, float]:
        """Averaged policy on held-out episodes: error of normalised actions, landmark error in [px]."""
        rows = self.test_rows if len(self.test_rows) else self.train_rows
        rows = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)) + rows[0]
        actions, mask = self._chunks(rows)
        features, points, _ = self.average.look(self._tensor(self.images[rows]), self._states(rows))
        noise = torch.randn(actions.shape, generator=torch.Generator().manual_seed(0))
        noise = noise.to(self.device)
        guess = self.average.sampler.sample(self.average.denoiser, noise, features)
        error = (((guess - actions) ** 2).mean(-1) * mask).sum() / mask.sum()
        landmarks = self._tensor(np.asarray(self.demos.landmarks)[rows])
        size = torch.tensor(IMAGE_SIZE[::-1], device=self.device)
        off = ((points[:, : landmarks.shape[1], :2] + 1) / 2 - landmarks[..., :2]) * size
        present = landmarks[..., 2]
        pixels = (off.norm(dim=-1) * present).sum() / present.sum().clamp(min=1.0)
        return {"action_error": float(error), "landmark_px": float(pixels)}

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs to go on bit-exactly."""
        numbers = {"rng": self.rng.bit_generator.state, "step": self.step}
        return {**state_of(self.parts), **numbers}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        restore(self.parts, state)
        self.rng.bit_generator.state = state["rng"]
        self.step = state["step"]

    def _draw(self, count: int) -> np.ndarray:
        """Rows `(count,)` to train on, in order: memory is read faster so."""
        starts = round(self.config.start_share * count)
        rows = self.rng.choice(self.train_rows, count - starts)
        if starts:
            rows = np.concatenate([rows, self.rng.choice(self.starts, starts)])
        return np.sort(rows)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(self.device)

    def _states(self, rows: np.ndarray) -> Tensor:
        return self._tensor(np.asarray(self.demos.states)[rows].astype(np.float32))

    def _chunks(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        actions, mask = map(self._tensor, self.demos.chunks(rows, self.policy.chunk))
        return self.policy.action_normalizer.normalize(actions).clamp(-1.0, 1.0), mask


def lr_factor(step: int, config: PretrainConfig) -> float:
    """Share of the peak learning rate: a linear rise and a cosine to zero, for each stage anew."""
    first = step < config.vision_steps
    begin = 0 if first else config.vision_steps
    end = min(config.vision_steps, config.steps) if first else config.steps
    rise = min(1.0, (step - begin + 1) / config.warm_up)
    return rise * 0.5 * (1 + math.cos(math.pi * (step - begin) / max(1, end - begin)))


def pretrain(config: PretrainConfig, *, resume: bool = False) -> DiffusionPolicy:
    """Train, save the policy in `config.out / "policy"` and return it.

    Raises:
        InvalidDemos: The demonstrations cannot be read.
        InvalidSetting: The device is not there.
        RunMismatch: The run folder holds another run, or one that was not asked to resume, or none to resume.
    """
    if resume and not (config.out / CONFIG).exists():
        raise RunMismatch(f"There is no run in {config.out} to resume. Start one without --resume.")
    trainer = Trainer(config, Demos.load(config.demos))
    state = open_run(config.out, asdict(config), resume=resume)
    if state is not None:
        trainer.restore(state)
    keep_lines(config.out / METRICS, trainer.step // config.save_every)
    start = trainer.step
    for _ in (
        bar := trange(start, config.steps, initial=start, total=config.steps, desc="cloning")
    ):
        losses = trainer.update()
        bar.set_postfix({key: f"{value:.3f}" for key, value in losses.items()}, refresh=False)
        if trainer.step in config.save_at:
            trainer.average.save(config.out / f"step-{trainer.step}", half=True)
        if trainer.step % config.save_every == 0:
            append_metrics(
                config.out / METRICS, {"step": trainer.step, **losses, **trainer.measure()}
            )
            save_checkpoint(config.out / CHECKPOINT, trainer.state())
    save_checkpoint(config.out / CHECKPOINT, trainer.state())
    trainer.average.save(config.out / POLICY, half=True)
    return DiffusionPolicy.load(config.out / POLICY)


def main(config: PretrainConfig, *, resume: bool = False, threads: int = 2) -> None:
    """Clone the behaviour of demonstrations.

    Args:
        config: What decides the run.
        resume: Go on with an interrupted run.
        threads: CPU threads.
    """
    keep_freed_memory()
    torch.set_num_threads(threads)
    policy = pretrain(config, resume=resume)
    print(f"{sum(p.numel() for p in policy.parameters()):,} parameters in {config.out / POLICY}")


def command_line(arguments: list[str] | None = None) -> None:
    """`python -m policies.pretrain`; `arguments` instead of those of the process."""
    tyro.cli(main, args=arguments, config=(tyro.conf.OmitArgPrefixes,))


if __name__ == "__main__":
    run_program(command_line)
