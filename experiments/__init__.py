"""Where environment, judge and policy meet: configured runs, their evaluation and their report."""
