"""Versions of libraries that scores were compared with, and those known to be bad; see docs/release_checklist.md."""

TRIED_TRANSFORMERS = ("5.0", "5.24")
"""Oldest and newest transformers with which nano gives equal scores (`python -m benchmarks.score_across_versions`)."""

SLOW_TORCH = "2.9."
"""PyTorch issue 166122: Conv3d, the first layer of the vision tower, takes seconds instead of milliseconds."""
