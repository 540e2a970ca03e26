"""The set-up of a real arm by a person beside it: `python -m robots.check`."""
