"""Whether nano could train from MP4s instead of arrays: `python -m benchmarks.reward_data_decode --data runs/data/test`.

The tower's training draws 32 random clips a step, and needs a pair of frames of each. This measures the CPU time of
drawing them from the mapped array and from MP4s of the whole episodes, and of a step of training itself.
"""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from transformers import Qwen3VLForConditionalGeneration

import reward_models.nano
from reward_models.data.example import Frames
from reward_models.data.reward_data import RewardData
from reward_models.data.video_file import VideoFormat, video_of, write_video
from reward_models.nano.config import TowerConfig
from reward_models.nano.tower import draw_batch, make_head, tower_loss
from roboreward_gym._cli import run_program


@dataclass(frozen=True)
class DecodeConfig:
    """What to measure."""

    data: Path
    """A folder of `experiments.simulation.reward_data`, of the test split."""
    out: Path = Path("benchmarks/results/reward_data_decode.json")
    """JSON file to write."""
    clips: int = 48
    """Clips that are written as videos and read again."""
    steps: int = 3
    """Steps of training."""


def cpu_s(work: Callable[[], object], times: int) -> float:
    """CPU time of one piece of work [s], the mean of some."""
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times


def main() -> None:
    """Measure and write."""
    config = tyro.cli(DecodeConfig, description=__doc__)
    torch.set_num_threads(1)
    data = RewardData.open([config.data], "test")
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(data.clips))[: config.clips]
    with tempfile.TemporaryDirectory() as folder:
        files, size, frames = [], 0, 0
        for clip in chosen:
            whole = data.clip(int(clip), "watch")
            path = Path(folder) / f"{clip}.mp4"
            height, width = whole.frames.shape[1:3]
            write_video(path, Frames(whole.frames, whole.fps), VideoFormat(width, height, 0))
            files.append(path)
            size += path.stat().st_size
            frames += len(whole.frames)
        order = iter(np.tile(np.arange(len(chosen)), 50))
        mapped = cpu_s(lambda: data.stored(int(chosen[next(order)])).copy(), 4 * len(chosen))
        decoded = cpu_s(lambda: video_of(files[next(order)]).read(), 2 * len(chosen))
    tower = TowerConfig()
    weights = Path(reward_models.nano.__file__).parent / "weights"
    model = Qwen3VLForConditionalGeneration.from_pretrained(weights, dtype=torch.float32)
    visual = model.model.visual
    head = make_head(visual, len(data.landmarks), 0)
    drawn = [draw_batch(data, tower, rng) for _ in range(config.steps)]
    batches = iter(drawn)

    def step() -> None:
        tower_loss(visual, head, next(batches), 1.0)[0].backward()

    trained = cpu_s(step, config.steps)
    result = {
        "clips": len(chosen),
        "frames_per_clip": round(frames / len(chosen), 1),
        "array_ms_per_clip": round(1e3 * mapped, 3),
        "mp4_ms_per_clip": round(1e3 * decoded, 2),
        "array_kb_per_clip": round(data.stored(0).nbytes / 1e3),
        "mp4_kb_per_clip": round(size / len(chosen) / 1e3, 1),
        "tower_step_s": round(trained, 3),
        "mp4_s_per_tower_step": round(tower.batch_size * decoded, 3),
        "slower_by_percent": round(100 * tower.batch_size * (decoded - mapped) / trained, 1),
    }
    config.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    run_program(main)
