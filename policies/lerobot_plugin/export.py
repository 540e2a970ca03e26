"""Take a policy that `lerobot-train` cloned out of LeRobot's checkpoint, as a base policy of our experiments.

    python -m policies.lerobot_plugin.export runs/duck_policy/checkpoints/last/pretrained_model runs/duck_base

Weights and ranges stay as they are. `experiments.run --policy` takes the folder.
"""

import argparse
import json
import sys
from pathlib import Path

from policies.lerobot_plugin.configuration_roboreward_dit import RoboRewardDiTConfig
from policies.lerobot_plugin.modeling_roboreward_dit import RoboRewardDiTPolicy
from roboreward_gym.errors import RoboRewardError, WeightsError

TYPE = RoboRewardDiTConfig.get_choice_name(RoboRewardDiTConfig)


def export(checkpoint: Path, folder: Path) -> None:
    """Write the policy of a checkpoint in our own format.

    Raises:
        WeightsError: The checkpoint holds none of ours.
    """
    config = checkpoint / "config.json"
    kind = json.loads(config.read_text(encoding="utf-8")).get("type") if config.is_file() else None
    if kind != TYPE:
        raise WeightsError(
            f"{checkpoint} holds {'no LeRobot policy' if kind is None else f'a policy of type {kind}'}. Name the folder "
            f"…/checkpoints/last/pretrained_model of a {TYPE}; other types go to --policy lerobot:FOLDER as they are."
        )
    RoboRewardDiTPolicy.from_pretrained(checkpoint).policy.save(folder)


def main(arguments: list[str] | None = None) -> int:
    """Export; 1 and a message when that is not possible."""
    parser = argparse.ArgumentParser(
        prog="python -m policies.lerobot_plugin.export",
        description="Take a policy out of LeRobot's checkpoint, as a base policy of our experiments.",
    )
    parser.add_argument("checkpoint", type=Path, help="…/checkpoints/last/pretrained_model")
    parser.add_argument("folder", type=Path, help="to write")
    options = parser.parse_args(arguments)
    try:
        export(options.checkpoint, options.folder)
    except RoboRewardError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(
        f"{options.folder}: python -m experiments.run NAME --policy {options.folder}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
