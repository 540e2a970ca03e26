"""Reward models of robot episodes: RoboReward and its small relative nano, their data, training and benchmark."""
