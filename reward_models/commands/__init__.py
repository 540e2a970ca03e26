"""The command `roboreward`."""
