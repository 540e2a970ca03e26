"""roboreward-nano: a Qwen3-VL of a few million parameters, for laptops and tests; shipped in `weights/`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reward_models.qwen3vl.roboreward import RoboReward

NAME = "roboreward-nano"
WEIGHTS = Path(__file__).parent / "weights"


def load_nano(options: str = "") -> "RoboReward":
    """Load the shipped weights: the entry point `roboreward-nano`.

    Torch and transformers are imported here, so that naming this model costs nothing.

    Args:
        options: Such as `?device=cuda`; on the CPU by default, where it is fast enough.

    Raises:
        WeightsError: The weights are missing or corrupt.
        ModuleNotFoundError: The extra `models` is not installed.
    """
    from reward_models.qwen3vl.published import load_local, only_options

    chosen = only_options(NAME, options)
    return load_local(str(WEIGHTS), replace(chosen, device=chosen.device or "cpu"), name=NAME)
