"""How right a reward model is: `roboreward bench` and its metrics."""
