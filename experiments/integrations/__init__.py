"""Examples: the wrapper in other people's trainers, for each the shortest program that learns from a reward model."""
