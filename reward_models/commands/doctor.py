"""Check that this machine can load and run a judge: `roboreward doctor [--model NAME] [--json]`.

Each finding says what was found, and what to do about it if anything is to be done. The exit status is 1 if one of them
stands in the way.
"""

import argparse
import ctypes
import importlib.util
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Literal

from reward_models.nano import WEIGHTS

if TYPE_CHECKING:
    import torch

    from reward_models.qwen3vl.roboreward import RoboReward

Status = Literal["ok", "note", "problem"]

PYTHON = (3, 10)
NEEDED = ("numpy", "gymnasium", "torch", "torchvision", "transformers", "safetensors", "tokenizers")
OPTIONAL = {"quantized": ("accelerate", "bitsandbytes"), "flash attention": ("flash_attn",)}
SLOW_TORCH = "2.9."
"""PyTorch issue 166122: Conv3d, the first layer of the vision tower, takes seconds instead of milliseconds."""
SLOW_TOWER_S = 2.0
"""Above this something is wrong: nano's tower takes 10 to 50 ms on one CPU core."""


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        check: What was looked at.
        status: `problem` stands in the way, `note` is worth knowing.
        found: What is there.
        advice: What to do; empty if nothing.
    """

    check: str
    status: Status
    found: str
    advice: str = ""


def check_python() -> Iterator[Finding]:
    """Look at the interpreter."""
    found = platform.python_version()
    if sys.version_info[:2] < PYTHON:
        yield Finding("python", "problem", found, "Use Python 3.10 or newer.")
    else:
        yield Finding("python", "ok", found)


def check_packages() -> Iterator[Finding]:
    """Look at the versions of what a judge needs."""
    for package in NEEDED:
        found = installed_version(package)
        if found is None:
            advice = "Run: pip install 'roboreward-gym[models]'"
            yield Finding(package, "problem", "not installed", advice)
        elif package == "torch" and found.startswith(SLOW_TORCH):
            advice = (
                "Its Conv3d makes the vision tower up to a thousand times slower. Run: "
                "pip install 'torch>=2.10' torchvision"
            )
            yield Finding(package, "problem", found, advice)
        else:
            yield Finding(package, "ok", found)
    for extra, packages in OPTIONAL.items():
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        found = f"without {', '.join(missing)}" if missing else "installed"
        yield Finding(extra, "note" if missing else "ok", found, "Optional." if missing else "")


def check_devices() -> Iterator[Finding]:
    """Look at what torch can compute on, and at the free memory there."""
    import torch

    from reward_models.qwen3vl.memory import bytes_available, gigabytes

    cpu = bytes_available(torch.device("cpu"))
    memory = "an unknown amount" if cpu is None else gigabytes(cpu)
    yield Finding("cpu", "ok", f"{torch.get_num_threads()} threads, {memory} free")
    if not torch.cuda.is_available():
        advice = (
            "nano needs none. RoboReward-4B needs 10 GB of GPU memory in bfloat16, the 8B 20 GB."
        )
        yield Finding("gpu", "note", "none that torch can use", advice)
        return
    for index in range(torch.cuda.device_count()):
        free = bytes_available(torch.device("cuda", index)) or 0
        yield Finding(
            f"gpu {index}", "ok", f"{torch.cuda.get_device_name(index)}, {gigabytes(free)} free"
        )


def check_egl() -> Iterator[Finding]:
    """Look for the library by which simulators draw without a screen."""
    if sys.platform != "linux":
        yield Finding("egl", "note", f"not used on {sys.platform}")
        return
    try:
        ctypes.CDLL("libEGL.so.1")
    except OSError as error:
        advice = (
            "Only simulated cameras need it. On Debian: apt-get install libegl1 libgl1-mesa-dri"
        )
        yield Finding("egl", "note", str(error), advice)
    else:
        yield Finding("egl", "ok", "libEGL.so.1")


def check_model(name: str) -> Iterator[Finding]:
    """Load a judge's checkpoint and time its vision tower on eight frames."""
    import torch

    from reward_models.qwen3vl.roboreward import RoboReward
    from roboreward_gym.errors import RoboRewardError
    from roboreward_gym.registry import load_reward_model

    try:
        judge = load_reward_model(name)
    except (RoboRewardError, ImportError) as error:
        yield Finding(name, "problem", type(error).__name__, str(error))
        return
    if not isinstance(judge, RoboReward):
        yield Finding(
            name, "note", type(judge).__name__, "Not a local checkpoint: nothing to time."
        )
        return
    count = sum(parameter.numel() for parameter in judge.model.parameters())
    yield Finding(name, "ok", f"{count / 1e6:.1f} million parameters on {judge.model.device}")
    yield from check_protocol(judge)
    seconds = time_tower(judge, torch.device(judge.model.device))
    advice = f"Expected less than {SLOW_TOWER_S} s. See torch above."
    slow = seconds > SLOW_TOWER_S and name == "roboreward-nano"
    found = f"{seconds * 1e3:.0f} ms for 8 frames of 320x192"
    yield Finding("vision tower", "problem" if slow else "ok", found, advice if slow else "")


def check_protocol(judge: "RoboReward") -> Iterator[Finding]:
    """Compare the checkpoint's own frame settings with those that it is asked by."""
    video, used = judge.processor.video_processor, judge.protocol
    own = (video.fps, video.min_frames, video.max_frames)
    own += (video.size["shortest_edge"], video.size["longest_edge"])
    wanted = (used.fps, used.min_frames, used.max_frames, used.min_pixels, used.max_pixels)
    if own == wanted:
        yield Finding("protocol", "ok", "frames and pixels as in the checkpoint's own processor")
    else:
        advice = (
            f"RoboReward's protocol is used: {wanted}. Pass protocol=Protocol(...) for another."
        )
        yield Finding("protocol", "note", f"the checkpoint's processor says {own}", advice)


def time_tower(judge: "RoboReward", device: "torch.device") -> float:
    """Median time of the vision tower for eight frames of 320x192, in [s].

    On the CPU that of the processor: what else runs here is no fault of the installation.
    """
    import numpy as np
    import torch

    from reward_models.protocol.frames import SampledClip

    frames = np.random.default_rng(0).integers(0, 256, (8, 192, 320, 3), dtype=np.uint8)
    inputs = judge.prepare([SampledClip(frames, np.arange(8), 8, 2.0, "wait")]).to(device)
    visual, seconds = judge.model.model.visual, []
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    pixels = inputs["pixel_values_videos"].to(visual.dtype)
    with torch.inference_mode():
        for _ in range(3):
            began = clock()
            visual(pixels, grid_thw=inputs["video_grid_thw"])
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(clock() - began)
    return statistics.median(seconds)


def check_weights() -> Iterator[Finding]:
    """Look for the weights in the package."""
    path = WEIGHTS / "model.safetensors"
    if path.is_file():
        yield Finding("nano weights", "ok", f"{path.stat().st_size / 1e6:.1f} MB")
    else:
        yield Finding("nano weights", "problem", "none", "Install the package again.")


def installed_version(package: str) -> str | None:
    """Version of a distribution, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def diagnose(model: str) -> list[Finding]:
    """Run all checks; those that need torch only where it is installed and usable."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        check_python,
        check_packages,
        check_egl,
        check_weights,
    ]
    findings = [finding for check in checks for finding in check()]
    missing = [f.check for f in findings if f.check in NEEDED and f.status == "problem"]
    if missing:
        skipped = f"not tried, because of {', '.join(missing)}"
        return [*findings, Finding(model, "problem", skipped, "Mend that first.")]
    return [*findings, *check_devices(), *check_model(model)]


def main(argv: list[str]) -> int:
    """Print the report; 1 if something stands in the way."""
    parser = argparse.ArgumentParser(prog="roboreward doctor", description=__doc__)
    parser.add_argument("--model", default="roboreward-nano", help="judge to load and time")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    options = parser.parse_args(argv)
    findings = diagnose(options.model)
    problems = [finding for finding in findings if finding.status == "problem"]
    if options.json:
        report = {"healthy": not problems, "findings": [asdict(finding) for finding in findings]}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        for finding in findings:
            sys.stdout.write(f"{finding.status:>7}  {finding.check}: {finding.found}\n")
            if finding.advice:
                sys.stdout.write(f"{'':>9}{finding.advice}\n")
        sys.stdout.write("All well.\n" if not problems else f"{len(problems)} to mend.\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
