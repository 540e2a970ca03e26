"""The WidowX as a LeRobot robot of type `roboreward_widowx`, and a keyboard to drive it, `roboreward_keyboard`.

LeRobot finds both when the distribution beside this file is installed, or when told
`--robot.discover_packages_path=robots.lerobot_plugin`.
"""
