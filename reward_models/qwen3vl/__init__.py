"""RoboReward and any other Qwen3-VL: loading, memory, one forward pass."""
