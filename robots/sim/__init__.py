"""The simulated WidowX: physics, camera, scenes with their true state, scripted experts."""
