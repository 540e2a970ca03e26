"""The reward model itself: episodes in, one reward each out."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs.rewards import RewardModelConfig
from lerobot.rewards.pretrained import PreTrainedRewardModel
from torch import Tensor

from reward_models.lerobot_plugin.configuration_roboreward import RoboRewardConfig
from reward_models.lerobot_plugin.processor_roboreward import FRAMES, TASKS
from reward_models.model_options import check_chosen
from roboreward_gym.errors import InvalidClip, RewardModelFailure
from roboreward_gym.registry import load_reward_model
from roboreward_gym.rewards import as_reward_map
from roboreward_gym.types import Clip, ProgressScore


class RoboRewardRewardModel(PreTrainedRewardModel):
    """Any reward model of ours as one of LeRobot; the class is named by LeRobot's rule for `RoboRewardConfig`.

    It is not trained through LeRobot, and its folder holds a configuration only: the weights belong
    to the reward model that the configuration names.

    Args:
        config: Which reward model.
        dataset_stats: Ignored; LeRobot passes it to every model.
        dataset_meta: Ignored likewise.
    """

    name = "roboreward"
    config_class = RoboRewardConfig

    def __init__(
        self, config: RoboRewardConfig, *, dataset_stats: Any = None, dataset_meta: Any = None
    ) -> None:
        super().__init__(config)
        self.config = config
        self.reward_model = load_reward_model(check_chosen(config.model))
        self._reward_map = as_reward_map(config.reward_map)

    def score(self, batch: dict[str, Any]) -> list[ProgressScore]:
        """Return the whole score of each episode of a batch that the preprocessor made.

        Raises:
            InvalidClip: The batch did not pass the preprocessor.
        """
        if FRAMES not in batch or TASKS not in batch:
            raise InvalidClip(
                f"The batch has no {FRAMES!r} and {TASKS!r}, only {sorted(batch)}. "
                "Pass it through make_reward_pre_post_processors first."
            )
        frames: np.ndarray = batch[FRAMES].cpu().numpy()
        return self.reward_model.score(
            [
                Clip(clip, task, self.config.fps)
                for clip, task in zip(frames, batch[TASKS], strict=True)
            ]
        )

    def compute_reward(self, batch: dict[str, Any]) -> Tensor:
        """Return the rewards, `(B,)` float32.

        Raises:
            RewardModelFailure: An answer was unreadable; it is never replaced by a number.
        """
        scores = self.score(batch)
        unreadable = [i for i, score in enumerate(scores) if not score.readable]
        if unreadable:
            raise RewardModelFailure(
                f"The scores of episodes {unreadable} of {len(scores)} are unreadable: "
                f"{scores[unreadable[0]].text!r}. Call score() to get the others."
            )
        rewards = [float(self._reward_map(score)) for score in scores]
        return torch.tensor(rewards, dtype=torch.float32, device=self.config.device)

    def _save_pretrained(self, save_directory: Path) -> None:
        self.config._save_pretrained(save_directory)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_name_or_path: str | Path,
        *,
        config: RewardModelConfig | None = None,
        **kwargs: Any,
    ) -> "RoboRewardRewardModel":
        """Read a configuration, local or on the Hub, and load the reward model that it names.

        A configuration that is given goes before the one that is read; the reward model, if it names
        none, is the one of that.
        """
        dataset = {key: kwargs.pop(key, None) for key in ("dataset_stats", "dataset_meta")}
        kwargs.pop("strict", None)
        if config is None:
            config = RewardModelConfig.from_pretrained(pretrained_name_or_path, **kwargs)
        elif not config.model:
            read = RewardModelConfig.from_pretrained(pretrained_name_or_path, **kwargs)
            config = dataclasses.replace(config, model=read.model)
        return cls(config, **dataset).eval()
