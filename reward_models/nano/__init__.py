"""roboreward-nano: a Qwen3-VL of a few million parameters, for laptops and tests; shipped in `weights/`."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reward_models.qwen3vl.roboreward import RoboReward

NAME = "roboreward-nano"
WEIGHTS = Path(__file__).parent / "weights"


def load() -> "RoboReward":
    """Load the shipped weights: the entry point `roboreward-nano`.

    Torch and transformers are imported here, so that naming this judge costs nothing.

    Raises:
        WeightsError: The weights are missing or corrupt.
        ModuleNotFoundError: The extra `models` is not installed.
    """
    try:
        from reward_models.qwen3vl.roboreward import RoboReward
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Expected {error.name} for {NAME}, which is not installed. "
            "Run: pip install 'roboreward-gym[models]'"
        ) from error

    return RoboReward(WEIGHTS, name=NAME, device="cpu")
