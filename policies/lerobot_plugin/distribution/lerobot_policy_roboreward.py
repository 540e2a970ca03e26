"""Imported by LeRobot's commands; registers the policy `roboreward_dit` and the reward model `roboreward`."""

import importlib

# By name, because a policy does not depend on a reward model: LeRobot has no prefix for the latter.
for _module in (
    "policies.lerobot_plugin.configuration_roboreward_dit",
    "reward_models.lerobot_plugin.configuration_roboreward",
):
    importlib.import_module(_module)
