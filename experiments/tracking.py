"""Training episodes for Weights & Biases and TensorBoard: numbers for both, videos and a table for the former."""

import atexit
import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experiments.config import ExperimentConfig
from experiments.media import video
from experiments.played_episode import PlayedEpisode, training_path
from experiments.run_folder import read_json, write_json
from roboreward_gym.errors import InvalidSetting

Log = Callable[[Mapping[str, Any]], None]
VIDEO_EVERY = 10
"""Every tenth training episode is logged as a video; so is every one whose success was predicted wrongly."""
COLUMNS = ("episode", "phase", "reward", "roboreward/level", "roboreward/success_probability", "truth/level")  # fmt: skip
WANDB_ID = "wandb.json"


def wandb_log(config: ExperimentConfig, path: Path) -> Log:
    """Log each training episode to Weights & Biases, in a run named after the run folder.

    Its id is drawn once and kept in the run folder: a resumed run goes on with it, and two people's runs of one name stay apart.
    """
    try:
        import wandb
    except ImportError as error:
        raise InvalidSetting(
            f"--wandb needs the package wandb ({error}). Install it: pip install wandb."
        ) from error

    known = path / WANDB_ID
    if not known.exists():
        write_json(known, {"id": wandb.util.generate_id(16)})
    run = wandb.init(
        project="roboreward-gym", name=path.name, id=read_json(known)["id"], resume="allow",
        config=dataclasses.asdict(config), dir=path,
    )  # fmt: skip
    # Late scores come in any order, and W&B's own step only rises.
    run.define_metric("*", step_metric="episode")
    videos = path / "wandb_videos"
    videos.mkdir(exist_ok=True)
    table = wandb.Table(columns=list(COLUMNS), log_mode="MUTABLE")

    def log(line: Mapping[str, Any]) -> None:
        number = int(line["episode"])
        entries: dict[str, Any] = dict(line)
        table.add_data(*(line.get(name) for name in COLUMNS))
        saved = training_path(path, number)
        if (number % VIDEO_EVERY == 0 or is_mistake(line)) and saved.exists():
            clip = PlayedEpisode.load(saved).clip
            file = videos / f"{number:06d}.mp4"
            file.write_bytes(video(clip.frames, clip.fps))
            entries["video"] = wandb.Video(str(file), caption=caption(line), format="mp4")
        if number % VIDEO_EVERY == 0:
            entries["episodes"] = table
        run.log(entries)

    return log


def is_mistake(line: Mapping[str, Any]) -> bool:
    """Whether success was predicted wrongly, where both are known."""
    levels = [line.get(name) for name in ("roboreward/level", "truth/level")]
    known = [level for level in levels if level is not None and math.isfinite(level)]
    return len(known) == 2 and (known[0] == 5) != (known[1] == 5)


def caption(line: Mapping[str, Any]) -> str:
    """The text below a video."""
    names = {"predicted level": "roboreward/level", "true level": "truth/level"}
    said = [f"{word} {line[key]:.0f}" for word, key in names.items() if line.get(key) is not None]
    return ", ".join([f"episode {int(line['episode']) + 1}", *said])


def tensorboard_log(path: Path) -> Log:
    """Log each training episode to TensorBoard: `tensorboard --logdir runs` shows the curves while a run goes on."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise InvalidSetting(
            f"--tensorboard needs the package tensorboardX ({error}). Install it: pip install tensorboardX."
        ) from error

    writer = SummaryWriter(str(path / "tensorboard"), flush_secs=5)
    atexit.register(writer.close)  # a thread of it writes; it is waited for

    def log(line: Mapping[str, Any]) -> None:
        for name, value in line.items():
            if isinstance(value, int | float):
                writer.add_scalar(name, value, int(line["episode"]))

    return log
