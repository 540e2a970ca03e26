"""The wrapper in other people's trainers: the shortest program that learns from a judge, for each."""
