"""Check that this machine can load and run a reward model, and that its scores are what they should be.

With `--env` it looks at an environment instead: an episode of random actions is recorded and shown as a reward model would
get it, without one.

Each finding says what was found, and what to do about it if anything is to be done. The exit status is 1 if one of them
is a problem.
"""

import argparse
import ctypes
import importlib.util
import itertools
import json
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from reward_models.commands.doctor_env import (
    add_env_arguments,
    check_env,
    env_question,
    example,
)
from reward_models.commands.findings import Finding
from reward_models.nano import WEIGHTS
from reward_models.qwen3vl.versions import SLOW_TORCH, TRIED_TRANSFORMERS
from roboreward_gym.errors import install_advice

if TYPE_CHECKING:
    import torch

    from reward_models.qwen3vl.roboreward import RoboReward

PYTHON = (3, 10)
NEEDED = ("numpy", "gymnasium", "torch", "torchvision", "transformers", "safetensors", "tokenizers")
OPTIONAL = {"quantized": ("accelerate", "bitsandbytes"), "flash attention": ("flash_attn",)}
SCORE_TOLERANCE = 1e-4
"""Largest difference of a probability in float32; versions of libraries differ by less than 1e-5."""
SLOW_TOWER_S = 2.0
"""Above this something is wrong: nano's tower takes 10 to 50 ms on one CPU core."""
SMALL_MODEL = 10_000_000
"""Parameters up to which a model counts as small."""


def check_python() -> Iterator[Finding]:
    """Look at the interpreter."""
    found = platform.python_version()
    if sys.version_info[:2] < PYTHON:
        yield Finding("python", "problem", found, "Use Python 3.10 or newer.")
    else:
        yield Finding("python", "ok", found)


def check_packages() -> Iterator[Finding]:
    """Look at the versions of what a reward model needs."""
    for package in NEEDED:
        found = installed_version(package)
        if found is None:
            yield Finding(package, "problem", "not installed", install_advice("models"))
        elif package == "torch" and found.startswith(SLOW_TORCH):
            advice = (
                "Its Conv3d makes the vision tower up to a thousand times slower. Run: "
                "pip install 'torch>=2.10' torchvision"
            )
            yield Finding(package, "problem", found, advice)
        elif package == "transformers":
            yield check_transformers(found)
        else:
            yield Finding(package, "ok", found)
    for extra, packages in OPTIONAL.items():
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        found = f"without {', '.join(missing)}" if missing else "installed"
        yield Finding(extra, "note" if missing else "ok", found, "Optional." if missing else "")


def check_transformers(found: str) -> Finding:
    """Compare the version of transformers with those that give equal scores."""
    oldest, newest = TRIED_TRANSFORMERS
    if release(found) < release(oldest):
        advice = f"nano gives equal scores with {oldest} to {newest}. Run: pip install 'transformers>={oldest}'"
        return Finding("transformers", "problem", f"{found}, which cannot load nano", advice)
    if release(found)[:2] > release(newest):
        advice = f"nano gives equal scores with {oldest} to {newest}; the scores below say more."
        return Finding("transformers", "warning", f"{found}, which nobody tried yet", advice)
    return Finding("transformers", "ok", found)


def release(text: str) -> tuple[int, ...]:
    """The leading numbers of a version.

    >>> release("5.24.0.dev1")
    (5, 24, 0)
    """
    parts = itertools.takewhile(str.isdigit, text.split("."))
    return tuple(map(int, parts))


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
    """Load a local model, compare its inputs and its scores with what they should be, and time its vision tower."""
    from reward_models.library_errors import LIBRARY_ERRORS
    from reward_models.qwen3vl.roboreward import RoboReward
    from roboreward_gym.errors import RoboRewardError
    from roboreward_gym.registry import load_reward_model

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the settings are compared below
            model = load_reward_model(name)
    except (RoboRewardError, *LIBRARY_ERRORS) as error:
        advice = str(error) or "Report it with the versions above."
        yield Finding(name, "problem", f"cannot be loaded: {type(error).__name__}", advice)
        return
    if not isinstance(model, RoboReward):
        found = f"{type(model).__name__}, no local checkpoint"
        yield Finding(name, "note", found, "There is nothing to load or to time.")
        return
    count = sum(parameter.numel() for parameter in model.model.parameters())
    yield Finding(name, "ok", f"{count / 1e6:.1f} million parameters on {model.model.device}")
    checks: dict[str, Callable[[RoboReward], Iterator[Finding]]] = {
        "protocol": check_protocol,
        "scores": check_scores,
        "vision tower": check_tower,
    }
    for check, run in checks.items():
        try:
            yield from run(model)
        except (RoboRewardError, *LIBRARY_ERRORS) as error:
            yield Finding(check, "problem", f"{type(error).__name__}: {error}", "See the versions.")


def check_protocol(model: "RoboReward") -> Iterator[Finding]:
    """Compare what the model is fed with the settings beside its weights and with the installed processor."""
    from reward_models.qwen3vl.reference import processor_differences, settings_differences

    settings = settings_differences(model.folder, model.protocol)
    if settings:
        advice = "RoboReward's protocol is used. Pass protocol=VideoProtocol(...) for another."
        found = f"the settings beside the weights differ: {'; '.join(settings)}"
        yield Finding("protocol", "warning", found, advice)
    else:
        yield Finding("protocol", "ok", "frames and pixels as the settings beside the weights say")
    processor = [] if settings else processor_differences(model.folder, model.protocol)
    if processor:
        found = f"that of transformers {version('transformers')} differs: {'; '.join(processor)}"
        advice = (
            "It is not used: scores are the same. From 5.10 on it lays videos out otherwise than RoboReward was "
            "trained with; code that uses it scores otherwise."
        )
        yield Finding("processor", "warning", found, advice)


def check_scores(model: "RoboReward") -> Iterator[Finding]:
    """Score two small clips whose scores are known, if they lie beside the weights."""
    from reward_models.nano.expected_scores import FILE, largest_difference

    difference = largest_difference(model)
    if difference is None:
        yield Finding("scores", "note", f"no {FILE} beside the weights to compare with")
        return
    found = (
        f"probabilities differ by {difference:.1e} from those that the weights were shipped with"
    )
    if str(model.model.dtype) != "torch.float32":
        yield Finding("scores", "note", f"{found}, in another precision")
    elif difference <= SCORE_TOLERANCE:
        yield Finding("scores", "ok", found)
    else:
        advice = "A library computes otherwise: install the versions of constraints.txt and report these."
        yield Finding("scores", "problem", found, advice)


def check_tower(model: "RoboReward") -> Iterator[Finding]:
    """Time the vision tower."""
    import torch

    seconds = time_tower(model, torch.device(model.model.device))
    found = f"{seconds * 1e3:.0f} ms for 8 frames of 320x192"
    count = sum(parameter.numel() for parameter in model.model.parameters())
    if seconds > SLOW_TOWER_S and count < SMALL_MODEL:
        advice = f"It should take less than {SLOW_TOWER_S} s. See torch above."
        yield Finding("vision tower", "problem", found, advice)
    else:
        yield Finding("vision tower", "ok", found)


def time_tower(model: "RoboReward", device: "torch.device") -> float:
    """Median time of the vision tower for eight frames of 320x192, in [s].

    On the CPU that of the processor: what else runs here is not a fault of the installation.
    """
    import numpy as np
    import torch

    from reward_models.protocol.frames import SampledClip
    from reward_models.protocol.inputs import move

    frames = np.random.default_rng(0).integers(0, 256, (8, 192, 320, 3), dtype=np.uint8)
    inputs = move(model.prepare([SampledClip(frames, np.arange(8), 8, 2.0, "wait")]), device)
    visual, seconds = model.model.model.visual, []
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
    """Print the report; 1 if one of them is a problem."""
    parser = argparse.ArgumentParser(prog="roboreward doctor", description=__doc__)
    parser.add_argument(
        "--model", default="roboreward-nano", help="reward model to load, with options if any"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    add_env_arguments(parser)
    options = parser.parse_args(argv)
    question = None if options.env is None else env_question(options)
    findings = diagnose(options.model) if question is None else list(check_env(question))
    warned = sum(finding.status == "warning" for finding in findings)
    problems = [finding for finding in findings if finding.status == "problem"]
    if options.json:
        report = {"healthy": not problems, "findings": [asdict(finding) for finding in findings]}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        for finding in findings:
            sys.stdout.write(f"{finding.status:>7}  {finding.check}: {finding.found}\n")
            if finding.advice:
                sys.stdout.write(f"{'':>9}{finding.advice}\n")
        sys.stdout.write(_summary(len(problems), warned))
        if question is not None and not problems:
            sys.stdout.write(f"\n{example(question)}")
    return 1 if problems else 0


def _summary(problems: int, warned: int) -> str:
    if problems:
        return f"{problems} problem{'s' * (problems > 1)} to fix.\n"
    return f"It works; {warned} warning{'s' * (warned > 1)} above.\n" if warned else "All well.\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
