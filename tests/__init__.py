"""A package: LeRobot's draccus installs a `tests` of its own, which would hide a mere folder."""
