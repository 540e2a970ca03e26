"""The page of a run that goes on: what there is so far, loaded again by the browser every few seconds."""

import math
import time
from collections.abc import Callable
from pathlib import Path

from experiments.config import ExperimentConfig
from experiments.metrics import success_rate
from experiments.phases import load_training
from experiments.report.gain import Gain
from experiments.report.losses import run_charts
from experiments.report.page import Group, Page
from experiments.run_folder import RunFolderError, read_json, read_lines
from experiments.strips import load_strips, representative
from policies.checkpoint import METRICS

LIVE = "live.html"
EVERY_S = 10


def write_live(folder: Path, refresh_s: int = EVERY_S) -> Path:
    """Write `live.html` of a run, finished or not; returns its path.

    Args:
        folder: The run folder.
        refresh_s: How often the browser loads the page again, in [s]; 0 for never.

    Raises:
        RunFolderError: There is no run in `folder`.
    """
    saved = folder / "config.json"
    if not saved.exists():
        raise RunFolderError(f"There is no run in {folder}. Name the folder of a run.")
    config = ExperimentConfig.from_json(read_json(saved))
    outcomes = {name: read_lines(folder / f"{name}.jsonl") for name in ("base", "final")}
    base, final = (success_rate(line["success"] for line in rows) for rows in outcomes.values())
    training = load_training(folder)
    strips = representative(load_strips(folder / "strips"))
    page = Page(
        title=f"{config.name}, seed {config.seed}: so far",
        lead=(
            f"Base policy: {base.total} of {config.base_episodes} evaluation episodes. Training: {len(training)} of "
            f"{config.training_episodes} episodes. Policy that was kept: {final.total} of {config.final_episodes} evaluation episodes."
        ),
        base=base,
        final=final,
        gain=Gain(math.nan, (math.nan, math.nan), [True]),
        training=training,
        curve_note="What is known at this moment; nothing is decided before the run ends.",
        videos=[],
        video_note="",
        groups=[Group("Training episodes and their scores", "Of each kind up to three.", strips)],
        table={"Folder": folder.name, "Reward": f"{config.reward_model}, mapped by {config.reward_map}"},
        losses=run_charts(read_lines(folder / "training" / METRICS)),
        refresh_s=refresh_s,
    )  # fmt: skip
    return page.write(folder / LIVE)


def follow(folder: Path, sleep: Callable[[float], None] = time.sleep) -> Path:
    """Write the page again and again until the run is finished; returns its path.

    Args:
        folder: The run folder.
        sleep: Waits for a number of seconds; tests pass another.
    """
    while not (folder / "result.json").exists():
        page = write_live(folder)
        print(f"{page} is of {time.strftime('%H:%M:%S')}", flush=True)
        sleep(EVERY_S)
    return write_live(folder, refresh_s=0)
