"""The thirteen tasks that roboreward-nano was trained on, in the exact words of its training data."""

from collections.abc import Mapping

TASKS: Mapping[str, tuple[str, ...]] = {
    "toy": (
        "put the duck on the towel",
        "put the duck on the plate",
        "put the block on the towel",
        "put the block on the plate",
        "pick up the duck",
        "pick up the block",
    ),
    "drawer": (
        "open the left drawer",
        "open the right drawer",
        "close the left drawer",
        "close the right drawer",
        "open both drawers",
        "close both drawers",
        "pick up the duck",
    ),
}
"""Tasks by simulated scene; one of them belongs to both. `reward_models.nano.ship` writes them beside the weights."""
