"""Scenes of the simulated WidowX: what varies by seed, which commands make sense, and the truth about each."""
