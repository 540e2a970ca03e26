"""Where environment, reward model and policy meet: configured runs, their evaluation and their report."""
