"""People as reward models: a folder of videos, a page on which they are rated, and the reward model that waits for it."""
