"""Behaviour cloning of the base policy: `python -m policies.pretrain --demos DIR --out DIR`.

First the image encoder and the denoiser learn together; the encoder also learns to point at the
landmarks that the simulator labelled. Then the encoder is frozen, as it will be during reinforcement
learning, the features of every frame are computed once, and only the denoiser goes on: on a CPU an
image costs four times as much as the denoising of one chunk.
"""

import copy
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from diffusers import DDPMScheduler
from torch import Tensor
from tqdm import trange

from policies.checkpoint import (
    CHECKPOINT,
    METRICS,
    append_metrics,
    keep_lines,
    open_run,
    save_checkpoint,
)
from policies.demos import Demos
from policies.diffusion import SCHEDULER, training_loss
from policies.policy import DiffusionPolicy, PolicyConfig
from policies.vision import IMAGE_SIZE, augment, landmark_loss
from roboreward_gym._cli import keep_freed_memory, run_program

POLICY = "policy"
"""Folder of the finished policy inside a run."""


@dataclass(frozen=True)
class PretrainConfig:
    """What decides a pre-training run."""

    demos: Path
    """Folder of demonstrations, see `policies.demos.Demos`."""
    out: Path
    """Run folder; the policy appears in `policy/`."""
    steps: int = 4000
    """Optimiser steps in all."""
    vision_steps: int = 800
    """Steps after which the image encoder is frozen and its features are computed once."""
    seed: int = 0
    """Of weights, order, augmentation and noise."""
    batch: int = 64
    """Images per step while the encoder learns."""
    start_share: float = 0.0
    """Part of each batch drawn from the first steps of episodes. A policy that plays chunks is asked there once an
    episode, more often than any other step, and it is where the ways part."""
    draws: int = 2
    """Diffusion steps drawn per image; with the encoder frozen a batch is `batch * draws` frames."""
    feature_noise: float = 0.02
    """Standard deviation of noise on frozen features, as fractions of half the image."""
    lr: float = 1e-3
    """Peak learning rate, cosine to zero."""
    warm_up: int = 100
    """Steps of linear rise of the learning rate."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    ema: float = 0.999
    """Decay of the averaged weights, which are what is saved and evaluated."""
    landmark_weight: float = 0.1
    """Weight of the landmark loss beside the diffusion loss."""
    shift: int = 4
    """Largest random shift of an image in [px]."""
    held_out: float = 0.05
    """Part of the episodes kept out of training, to measure on."""
    save_at: tuple[int, ...] = ()
    """Steps after which the policy is also saved as `step-N/`: half-trained policies."""
    save_every: int = 250
    """Steps between checkpoints that `--resume` goes on from, and between measurements."""
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
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            self.policy = DiffusionPolicy(sizes)
        self.policy.state_normalizer.fit(np.asarray(demos.states)[self.train_rows])
        self.policy.action_normalizer.fit(np.asarray(demos.actions)[self.train_rows])
        self.average = copy.deepcopy(self.policy).requires_grad_(requires_grad=False)
        self.optimiser = torch.optim.AdamW(
            self.policy.parameters(),
            config.lr,
            (0.9, 0.99),
            weight_decay=config.weight_decay,
            foreach=True,
        )
        self.scheduler = DDPMScheduler(**SCHEDULER)
        self.rng = np.random.default_rng(config.seed)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.step = 0
        self.features: Tensor | None = None  # (N, F) once the encoder is frozen

    def update(self) -> dict[str, float]:
        """One optimiser step on a random batch; returns its losses."""
        c = self.config
        if self.step >= c.vision_steps and self.features is None:
            self._freeze_vision()
        frozen = self.features
        losses = self._joint_losses() if frozen is None else self._frozen_losses(frozen)
        for group in self.optimiser.param_groups:
            group["lr"] = c.lr * self._schedule()
        self.optimiser.zero_grad()
        sum(losses.values(), start=torch.zeros(())).backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0, foreach=True)
        self.optimiser.step()
        self.step += 1
        self._follow()
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _schedule(self) -> float:
        """Fraction of the peak learning rate: a linear rise and a cosine, for each stage anew."""
        first = self.step < self.config.vision_steps
        begin = 0 if first else self.config.vision_steps
        end = min(self.config.vision_steps, self.config.steps) if first else self.config.steps
        rise = min(1.0, (self.step - begin + 1) / self.config.warm_up)
        return rise * 0.5 * (1 + math.cos(math.pi * (self.step - begin) / (end - begin)))

    def _joint_losses(self) -> dict[str, Tensor]:
        """Encoder and denoiser on augmented images."""
        c = self.config
        rows = self._draw(c.batch)
        images, landmarks = augment(
            self.images[rows], np.asarray(self.demos.landmarks)[rows], c.shift, self.rng
        )
        features, points, logits = self.policy.look(torch.from_numpy(images), self._states(rows))
        repeat = [part.repeat_interleave(c.draws, 0) for part in (*self._chunks(rows), features)]
        losses = {
            "diffusion_loss": training_loss(
                self.policy.denoiser, self.scheduler, *repeat, self.generator
            )
        }
        if landmarks.size:
            pointing = landmark_loss(points, logits, torch.from_numpy(landmarks))
            losses["landmark_loss"] = c.landmark_weight * pointing
        return losses

    def _frozen_losses(self, cached: Tensor) -> dict[str, Tensor]:
        """Denoiser alone on cached features."""
        c = self.config
        rows = self._draw(c.batch * c.draws)
        features = cached[rows]
        noise = c.feature_noise * torch.randn(features.shape, generator=self.generator)
        loss = training_loss(
            self.policy.denoiser,
            self.scheduler,
            *self._chunks(rows),
            features + noise,
            self.generator,
        )
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
            self.policy.look(torch.from_numpy(self.images[rows]), self._states(rows))[0]
            for rows in chunks
        ]
        self.features = torch.cat(looks)

    @torch.no_grad()
    def measure(self, most: int = 256) -> dict[str, float]:
        """Averaged policy on held-out episodes: error of normalised actions, landmark error in [px]."""
        rows = self.test_rows if len(self.test_rows) else self.train_rows
        rows = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)) + rows[0]
        actions, mask = self._chunks(rows)
        features, points, _ = self.average.look(
            torch.from_numpy(self.images[rows]), self._states(rows)
        )
        noise = torch.randn(actions.shape, generator=torch.Generator().manual_seed(0))
        guess = self.average.sampler.sample(self.average.denoiser, noise, features)
        error = (((guess - actions) ** 2).mean(-1) * mask).sum() / mask.sum()
        landmarks = torch.from_numpy(np.asarray(self.demos.landmarks)[rows])
        size = torch.tensor(IMAGE_SIZE[::-1])
        off = ((points[:, : landmarks.shape[1], :2] + 1) / 2 - landmarks[..., :2]) * size
        present = landmarks[..., 2]
        pixels = (off.norm(dim=-1) * present).sum() / present.sum().clamp(min=1.0)
        return {"action_error": float(error), "landmark_px": float(pixels)}

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs to go on to the bit."""
        return {
            "policy": self.policy.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": self.rng.bit_generator.state,
            "generator": self.generator.get_state(),
            "step": self.step,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.policy.load_state_dict(state["policy"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.rng.bit_generator.state = state["rng"]
        self.generator.set_state(state["generator"])
        self.step = state["step"]

    def _draw(self, count: int) -> np.ndarray:
        """Rows `(count,)` to train on, in order: memory is read faster so."""
        starts = round(self.config.start_share * count)
        rows = self.rng.choice(self.train_rows, count - starts)
        if starts:
            rows = np.concatenate([rows, self.rng.choice(self.starts, starts)])
        return np.sort(rows)

    def _states(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(self.demos.states)[rows].astype(np.float32))

    def _chunks(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        actions, mask = self.demos.chunks(rows, self.policy.chunk)
        normalised = self.policy.action_normalizer.normalize(torch.from_numpy(actions))
        return normalised.clamp(-1.0, 1.0), torch.from_numpy(mask)

    @torch.no_grad()
    def _follow(self) -> None:
        # Early averages must forget the random start, hence the rising decay.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(
            list(self.average.parameters()), list(self.policy.parameters()), 1 - decay
        )


def pretrain(config: PretrainConfig, *, resume: bool = False) -> DiffusionPolicy:
    """Train, save the policy in `config.out / "policy"` and return it.

    Raises:
        InvalidDemos: The demonstrations cannot be read.
        RunMismatch: The run folder holds another run, or one that was not asked to resume.
    """
    demos = Demos.load(config.demos)
    state = open_run(config.out, config, resume=resume)
    trainer = Trainer(config, demos)
    if state is not None:
        trainer.restore(state)
    keep_lines(config.out / METRICS, trainer.step // config.save_every)
    bar = trange(
        trainer.step, config.steps, initial=trainer.step, total=config.steps, desc="cloning"
    )
    for _ in bar:
        losses = trainer.update()
        bar.set_postfix({key: f"{value:.3f}" for key, value in losses.items()}, refresh=False)
        if trainer.step in config.save_at:
            trainer.average.save(config.out / f"step-{trainer.step}")
        if trainer.step % config.save_every == 0:
            append_metrics(
                config.out / METRICS, {"step": trainer.step, **losses, **trainer.measure()}
            )
            save_checkpoint(config.out / CHECKPOINT, trainer.state())
    save_checkpoint(config.out / CHECKPOINT, trainer.state())
    trainer.average.save(config.out / POLICY)
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
