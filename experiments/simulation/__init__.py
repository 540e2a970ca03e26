"""Data made from the simulation: demonstrations for the policies, episodes for reward models."""
