"""Any reward model of ours as a LeRobot reward model of type `roboreward`.

LeRobot finds it when told `--reward_model.discover_packages_path=reward_models.lerobot_plugin`, which
imports the modules of this package, or after
`import reward_models.lerobot_plugin.configuration_roboreward`.
"""
