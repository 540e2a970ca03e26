"""Imported by LeRobot's commands; registers the robot `roboreward_widowx` and the keyboard `roboreward_keyboard`."""

import robots.lerobot_plugin.config_roboreward_keyboard
import robots.lerobot_plugin.config_roboreward_widowx  # noqa: F401
