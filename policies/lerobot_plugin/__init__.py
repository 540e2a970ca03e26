"""The diffusion policy as a LeRobot policy of type `roboreward_dit`.

LeRobot finds it when told `--policy.discover_packages_path=policies.lerobot_plugin`, which imports
the modules of this package, or after `import policies.lerobot_plugin.configuration_roboreward_dit`.
"""
