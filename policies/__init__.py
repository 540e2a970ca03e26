"""Diffusion policies: behaviour cloning of a small transformer and its fine-tuning by noise steering.

Import the module you need (`policies.policy`, `policies.dsrl.training`, ...); this package loads nothing by itself.
"""
