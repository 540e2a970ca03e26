"""Fine-tuning of any Qwen3-VL as a reward model: nano's language stage and the 4B and 8B by the same code."""
