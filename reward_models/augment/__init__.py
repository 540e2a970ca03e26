"""From videos of successes to a reward data set: tasks that the video fails at, and videos cut short, each verified."""
