"""Videos and data sets on disk to scores: `roboreward score`."""
