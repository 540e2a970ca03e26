"""What LeRobot does to a batch before and after the policy: batching and the device, nothing else."""

from typing import Any

from lerobot.processor import (
    PolicyAction,
    PolicyProcessorPipeline,
    make_default_pre_post_processors,
)

from policies.lerobot_plugin.configuration_roboreward_dit import RoboRewardDiTConfig


def make_roboreward_dit_pre_post_processors(
    config: RoboRewardDiTConfig, dataset_stats: dict[str, dict[str, Any]] | None = None
) -> tuple[
    PolicyProcessorPipeline[dict[str, Any], dict[str, Any]],
    PolicyProcessorPipeline[PolicyAction, PolicyAction],
]:
    """Make the two pipelines under the name that LeRobot looks for."""
    return make_default_pre_post_processors(config, dataset_stats, normalizer_device=config.device)
