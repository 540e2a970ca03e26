"""The vision tower in a new world: each visual token must say the level of its moment, for every task.

One score per clip is too little signal to learn vision from (see `reward_models.nano.tower`), and dense labels such as places of
things are more than most environments can give. Their level they say at every step, so each pair of frames has one.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from reward_models.nano.optimization import optimize
from reward_models.nano.teach.config import TeachConfig
from reward_models.nano.teach.dataset import Episode, read_episodes
from reward_models.protocol.frames import MERGE, TEMPORAL_PATCH, sample_clip
from reward_models.protocol.inputs import Grid, clip_patches
from reward_models.qwen3vl.loading import load_model
from reward_models.qwen3vl.patches import project_patches
from reward_models.training.export import PROCESSOR_FILES
from roboreward_gym.types import LEVELS

UNKNOWN = -1
"""Label of a moment whose level the environment did not say."""
CHECKPOINT_EVERY = 100


@dataclass(frozen=True, eq=False)
class LabelledClip:
    """A clip as the tower takes it.

    Attributes:
        patches: `(patches, 1536)` float32.
        grid: Temporal groups, rows and columns of patches.
        labels: `(groups, K)` int64 level - 1 of each task at the later frame of each group, or `UNKNOWN`.
    """

    patches: torch.Tensor
    grid: Grid
    labels: torch.Tensor


def teach_tower(config: TeachConfig, data: Path, base: Path) -> Path:
    """Train the tower and the projector of `base`; returns the folder of the whole model."""
    folder = config.out / "tower" / "model"
    if folder.is_dir():
        return folder
    episodes = read_episodes(data, "train")
    tasks = sorted({task for episode in episodes for levels in episode.levels for task in levels})
    model = load_model(base, torch.float32)
    visual = model.model.visual
    project_patches(visual)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        head = nn.Linear(visual.config.out_hidden_size, len(tasks) * len(LEVELS))

    def loss_at(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        rng = np.random.default_rng((config.seed, step))
        chosen = rng.integers(len(episodes), size=config.tower.batch_size)
        clips = [draw_clip(episodes[int(number)], tasks, rng) for number in chosen]
        grid = torch.tensor([clip.grid for clip in clips])
        tokens = visual(torch.cat([clip.patches for clip in clips]), grid_thw=grid).pooler_output
        return level_loss(head(tokens), clips)

    out = folder.parent
    out.mkdir(parents=True, exist_ok=True)
    modules = {"visual": visual, "head": head}
    optimize(config.tower, out, modules, iter, loss_at, checkpoint_every=CHECKPOINT_EVERY)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.half().save_pretrained(partial)
    for name in PROCESSOR_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, partial / name)
    partial.replace(folder)
    return folder


def draw_clip(episode: Episode, tasks: Sequence[str], rng: np.random.Generator) -> LabelledClip:
    """Sample a beginning of an episode, of random length, as it would be scored."""
    video = episode.video.read()
    count = int(rng.integers(min(TEMPORAL_PATCH, len(video.frames)), len(video.frames) + 1))
    sampled = sample_clip(video.first(count).clip(tasks[0]))
    patches, grid = clip_patches(sampled.frames)
    later = sampled.indices[TEMPORAL_PATCH - 1 :: TEMPORAL_PATCH].tolist()
    later += sampled.indices[-1:].tolist() * (grid[0] - len(later))  # an odd number of frames
    labels = [[episode.levels[i].get(task, 0) - 1 for task in tasks] for i in later]
    return LabelledClip(patches, grid, torch.tensor(labels))


def level_loss(
    logits: torch.Tensor, clips: Sequence[LabelledClip]
) -> tuple[torch.Tensor, dict[str, float]]:
    """Cross-entropy of the level at every token.

    Args:
        logits: `(tokens, K * 5)`.
        clips: What the tokens are of, in order.
    """
    each = [clip.grid[1] * clip.grid[2] // MERGE**2 for clip in clips]
    labels = torch.cat(
        [clip.labels.repeat_interleave(n, 0) for clip, n in zip(clips, each, strict=True)]
    )
    scores = logits.view(*labels.shape, len(LEVELS))
    loss = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=UNKNOWN)
    known = labels != UNKNOWN
    error = (scores.argmax(-1) - labels).abs()[known].float().mean()
    return loss, {"level_error": error.item()}
