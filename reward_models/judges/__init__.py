"""Reward models other than RoboReward: judges behind APIs, LeRobot's models, and null models that see nothing."""
