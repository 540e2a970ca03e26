"""Judges by name: `roboreward-4b`, `roboreward-8b`, and `checkpoint:FOLDER_OR_HUB_ID[@REVISION]` for any Qwen3-VL.

Torch and transformers are imported when a judge is made, so that naming one costs nothing.
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reward_models.qwen3vl.roboreward import RoboReward

ROBOREWARD_4B = "teetone/RoboReward-4B"
ROBOREWARD_8B = "teetone/RoboReward-8B"

REVISIONS = {ROBOREWARD_4B: "4dec8af8", ROBOREWARD_8B: "3a185b4f"}
"""Commits of the published checkpoints that results are cited with.

These are the first eight digits, as the literature gives them; the full commit is looked up on the hub, or in the cache, and
stands in the manifest of every score. To use another one, name it: `checkpoint:teetone/RoboReward-4B@main`.
"""


def load_4b() -> "RoboReward":
    """Load RoboReward-4B at its pinned commit: the entry point `roboreward-4b`.

    Raises:
        WeightsError: It cannot be fetched, or what was fetched is incomplete.
        RewardModelUnavailable: Too little memory for it.
        ModuleNotFoundError: The extra `models` is not installed.
    """
    return _load(ROBOREWARD_4B, REVISIONS[ROBOREWARD_4B], "roboreward-4b")


def load_8b() -> "RoboReward":
    """Load RoboReward-8B at its pinned commit: the entry point `roboreward-8b`.

    Raises:
        WeightsError: It cannot be fetched, or what was fetched is incomplete.
        RewardModelUnavailable: Too little memory for it.
        ModuleNotFoundError: The extra `models` is not installed.
    """
    return _load(ROBOREWARD_8B, REVISIONS[ROBOREWARD_8B], "roboreward-8b")


def load_checkpoint(source: str) -> "RoboReward":
    """Load any Qwen3-VL to be asked like RoboReward: the entry point `checkpoint`.

    Args:
        source: A local folder, or a hub id with or without `@REVISION` (branch, tag or commit).

    Raises:
        WeightsError: No such checkpoint, or it is incomplete or of another kind.
        RewardModelUnavailable: Too little memory for it.
        ModuleNotFoundError: The extra `models` is not installed.
    """
    if Path(source).expanduser().is_dir():  # a folder's name may hold an @
        return _load(str(Path(source).expanduser()), None, None)
    identifier, _, revision = source.rpartition("@") if "@" in source else (source, "", "")
    return _load(identifier, revision or REVISIONS.get(identifier), None)


def _load(source: str, revision: str | None, name: str | None) -> "RoboReward":
    try:
        from reward_models.qwen3vl.roboreward import RoboReward
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"Expected {error.name} for {name or source}, which is not installed. "
            "Run: pip install 'roboreward-gym[models]'"
        ) from error

    return RoboReward(source, revision=revision, name=name)
