"""The registered environments: where arms, scenes and tasks come together."""
