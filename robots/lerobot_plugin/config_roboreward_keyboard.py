"""The configuration that registers the teleoperator `roboreward_keyboard` with LeRobot."""

from dataclasses import dataclass

from lerobot.teleoperators import TeleoperatorConfig

from roboreward_gym.errors import InvalidSetting


@TeleoperatorConfig.register_subclass("roboreward_keyboard")
@dataclass(kw_only=True)
class RoboRewardKeyboardConfig(TeleoperatorConfig):
    """How far a key moves the arm."""

    speed: float = 0.5
    """Part of the largest step (5 cm, 0.25 rad) that a key moves the arm by; keys 1, 2 and 3 change it."""

    def __post_init__(self) -> None:
        if not 0.0 < self.speed <= 1.0:
            raise InvalidSetting(f"--teleop.speed must be above 0 and at most 1, got {self.speed}.")
