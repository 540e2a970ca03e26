"""The keys of `info`, each present only where it applies (see `VLMRewardWrapper` and docs/dense_rewards.md)."""

ENV_REWARD = "roboreward/env_reward"
"""The environment's own reward."""

# The step that ends an episode.
TRUNCATED = "roboreward/truncated"
"""Whether the environment called the end a truncation."""

# A score.
LEVEL = "roboreward/level"
EXPECTED = "roboreward/expected"
SUCCESS_PROBABILITY = "roboreward/success_probability"
OFF_FORMAT = "roboreward/off_format"
ENTROPY = "roboreward/entropy"
VETOED = "roboreward/vetoed"
"""Whether a guard made level 4 of a success; there where it checked one."""

# Scores that come later.
PENDING = "roboreward/pending"
"""Number of the episode, in the step that ends it."""
EPISODE = "roboreward/episode"
"""The same number, with its score."""
REWARD = "roboreward/reward"
REWARDS = "roboreward/rewards"
"""Of each step of the episode, where they are shaped."""
PREFIX_STEPS = "roboreward/prefix_steps"
PREFIX_PROGRESS = "roboreward/prefix_progress"

# Running episodes.
PROGRESS = "roboreward/progress"
PREFIX_FAILED = "roboreward/prefix_failed"
SHAPING = "roboreward/shaping"
SUCCESS_STOP = "roboreward/success_stop"

# From `FrameCapture` to the vector wrapper, which takes them out.
CAPTURED = "roboreward/captured"
"""A reset of an environment that has one."""
PREFIX = "roboreward/prefix"
"""The `FrameBuffer` so far, in a step whose prefix is scored."""
RECORDING = "roboreward/recording"
"""The `FrameBuffer` of an episode, in the step that ends it."""
