"""How often a score depends on the memory limit of the video reader: `thinning_differences`, which must be 0.

    python -m benchmarks.thinning

Videos of noise over a grid of lengths and rates are scored by nano, once whole and once thinned to the frames that the
protocol samples; three more, of 640x480, are thinned by the limit that `roboreward score` really has. Counted are the
recordings whose sampled frames, time stamps, manifest or score differ.
"""

import itertools
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.foundations import record
from reward_models.protocol.frames import sample_clip
from reward_models.video.read import open_recording
from reward_models.video.recording import MAX_BYTES
from reward_models.video.write import write_mp4
from roboreward_gym.registry import load_reward_model
from roboreward_gym.types import Clip, RewardModel

LENGTHS = (2, 5, 9, 20, 31, 45, 64, 100, 149, 299)
RATES_HZ = (3.0, 5.0, 7.0, 10.0, 15.0, 24.0, 30000 / 1001, 30.0)
LARGE = ((80, 10.0), (120, 15.0), (200, 30.0))
WHOLE = 10**12


def differs(model: RewardModel, whole: Clip, thinned: Clip) -> bool:
    """Whether the model sees or answers anything else."""
    a, b = (sample_clip(clip) for clip in (whole, thinned))
    score, other = model.score([whole])[0], model.score([thinned])[0]
    return not (
        np.array_equal(a.frames, b.frames)
        and a.group_times_s == b.group_times_s
        and score.manifest == other.manifest
        and (score.expected, score.success_probability)
        == (other.expected, other.success_probability)
    )


def main() -> None:
    """Measure and record."""
    model = load_reward_model("roboreward-nano?abstain=never")
    small = [(n, fps, (64, 64), 1) for n, fps in itertools.product(LENGTHS, RATES_HZ)]
    large = [(n, fps, (480, 640), MAX_BYTES) for n, fps in LARGE]
    rng = np.random.default_rng(0)
    different = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.mp4"
        for count, fps, size, limit in small + large:
            frames = (rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count))
            write_mp4(path, frames, fps, preset="ultrafast")
            whole, thinned = (
                open_recording(path).read(most).clip("open the drawer") for most in (WHOLE, limit)
            )
            different += differs(model, whole, thinned)
    recordings = len(small) + len(large)
    print(f"{different} of {recordings} recordings differ.")
    record(thinning_differences=different, thinning_recordings=recordings)


if __name__ == "__main__":
    main()
