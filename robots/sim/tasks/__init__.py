"""Scenes of the simulated WidowX: what varies by seed, which tasks make sense, and the true level of each."""
