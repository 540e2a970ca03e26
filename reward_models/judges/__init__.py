"""Other judges behind the same `RewardModel` protocol, one module each."""
