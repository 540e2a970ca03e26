"""The success rates that the paper reports, from a real WidowX: RoboReward (arXiv 2601.00675), 20 trials each."""

SOURCE = "RoboReward, arXiv:2601.00675, real WidowX, 20 trials each"
PUBLISHED: dict[str, dict[str, float]] = {
    "toy-on-towel": {"human": 0.75, "roboreward-8b": 0.50, "gemini-robotics-er-1.5": 0.10},
    "drawer": {"human": 0.90, "roboreward-8b": 0.80, "gemini-robotics-er-1.5": 0.45},
}
"""Success after fine-tuning by task and reward, as our cells are named."""
