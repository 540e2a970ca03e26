"""How often an episode is rendered for RoboReward, and how far the frames that it sees are from those it would choose.

    python -m benchmarks.recording_rate

Episodes of 1 to 16 seconds, which fit the bound of 256 frames, are recorded at several step rates, as the wrappers do it by
default and once with every step. Written to `recording_rate` in `benchmarks/results/foundations.json`, per step rate: the frames rendered and the farthest shown
frame from the wanted one, in seconds. Below 16 steps per second the frames must be equal.
"""

import numpy as np

from benchmarks.foundations import record
from reward_models.protocol.frames import ROBOREWARD_PROTOCOL, sample_clip
from roboreward_gym.recording import check_bounds
from roboreward_gym.types import MAX_BYTES, MAX_FRAMES, FrameBuffer

RATES_HZ = (5.0, 10.0, 15.0, 20.0, 30.0, 50.0, 80.0, 125.0)
DURATIONS_S = (1, 2, 4, 8, 16)
REPORTED_S = 8
"""The duration whose renderings are reported: Hopper-v5's at 125 steps per second."""

FRAME = np.zeros((32, 32, 3), np.uint8)


def recording(steps: int, stride: int) -> tuple[FrameBuffer, int]:
    """A recording within the default bounds, and how many frames were rendered for it."""
    rendered = [FRAME]

    def render() -> np.ndarray:
        rendered.append(FRAME)
        return FRAME

    buffer = FrameBuffer(FRAME, MAX_FRAMES, MAX_BYTES, stride)
    for step in range(1, steps + 1):
        buffer.add(render, final=step == steps)
    return buffer, len(rendered)


def measure(fps: float) -> dict[str, float]:
    """Record episodes of all durations at one step rate."""
    stride = check_bounds(MAX_FRAMES, MAX_BYTES, fps, None, ROBOREWARD_PROTOCOL.fps)[2]
    figures: dict[str, float] = {"steps_per_frame": stride, "farthest_s": 0.0}
    for seconds in DURATIONS_S:
        steps = round(seconds * fps)
        buffer, rendered = recording(steps, stride)
        shown = sample_clip(buffer.to_clip("open the drawer", fps)).indices
        wanted = ROBOREWARD_PROTOCOL.frame_indices(steps + 1, fps)
        farthest = max(np.abs(shown - index).min() for index in wanted) / fps
        figures["farthest_s"] = round(max(figures["farthest_s"], float(farthest)), 4)
        if seconds == REPORTED_S:
            figures["rendered"] = rendered
            figures["rendered_with_every_step"] = recording(steps, 1)[1]
    return figures


def main() -> None:
    """Measure and record."""
    found = {f"{fps:g} Hz": measure(fps) for fps in RATES_HZ}
    for rate, figures in found.items():
        print(rate, figures)
    record(recording_rate=found)


if __name__ == "__main__":
    main()
