"""The named experiments: one task and one source of reward each.

A name is `TASK-REWARD`, with `-ros2` behind it for the robot. REWARD is a key of `REWARDS`, or the full name of any other reward
model, which has a colon: `drawer-checkpoint:runs/nano/model`.

Seeds are split so that evaluation episodes are never seen in training: see `training_seeds` and
`evaluation_seeds`.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tyro.conf import Suppress

from policies.dsrl.config import DsrlConfig
from roboreward_gym.errors import InvalidSetting, UnknownName
from robots.catalogue import TASKS, TaskEntry

TRUTH = "truth"
"""Name of the reward source that reads the simulator's state."""
CONSTANT = "constant"
"""Name of the reward source that gives every episode the same level."""
NOBODY = "nobody"
"""Name of the reward source that says nothing: evaluations in simulation are not shown to people."""
HUMAN = "human"
"""Name of the reward model that is people on a page."""
RANDOM = "random"
"""Name of the reward model that gives a random level, whatever happened."""
SIMULATED_HUMAN = "simulated-human"
"""Name of the reward source that is a person who errs: the truth, and another level in some episodes."""
NANO = "roboreward-nano"
ROS2 = "-ros2"
"""Behind the name of an experiment: on the robot."""

REWARDS: dict[str, tuple[str, str]] = {
    "human": ("human:runs/labels-{task}", "progress"),
    "oracle": (TRUTH, "progress"),
    "oracle-binary": (TRUTH, "binary"),
    "roboreward-8b": ("roboreward-8b", "progress"),
    "roboreward-4b": ("roboreward-4b", "progress"),
    "nano": (NANO, "progress"),
    "nano-without-negatives": ("checkpoint:runs/nano-no-negatives/model", "progress"),
    "gemini-robotics-er-1.5": ("gemini:gemini-robotics-er-1.5-preview", "progress"),
    "gpt-5-mini": ("openai:gpt-5-mini", "progress"),
    "robometer": ("robometer", "progress"),
    "constant": (CONSTANT, "progress"),
    "clock": ("clock:{duration_s:g}", "progress"),
    "random": (RANDOM, "progress"),
    "simulated-human": (f"{SIMULATED_HUMAN}:0.05", "progress"),
}
"""Reward model and reward map of each name; `oracle-binary` is the paper's human reward, +1 on success."""

FPS = 5
"""Control rate of the tasks in [Hz]."""
BLOCK = 100_000
"""Seeds set aside for one run, for training and for evaluation each."""
RUNS = 1_000
TRAINING_SEEDS = range(1_000_000_000, 1_000_000_000 + RUNS * BLOCK)
EVALUATION_SEEDS = range(1_500_000_000, 1_500_000_000 + RUNS * BLOCK)
"""Disjoint from the seeds of training and from those of demonstrations and reward data, which lie
below one billion; all fit into 31 bits."""
SHOWCASE_SEEDS = range(1_700_000_000, 1_700_000_000 + BLOCK)
"""For the scripted episodes that show a reward model at work."""


@dataclass(frozen=True)
class ExperimentConfig:
    """One experiment: fine-tune a base policy on one task with one source of reward."""

    name: Suppress[str]
    """Name of the experiment, the first part of its result file's name."""
    env_id: str
    """Gymnasium id of the environment."""
    policy: str
    """Folder of the base policy, or `lerobot:` and the folder or the Hub id of a LeRobot policy."""
    reward_model: str = NANO
    """Name of the reward model, or `truth`, `constant` or `simulated-human:SHARE_OF_ERRORS`."""
    reward_map: str = "progress"
    """From the score to the reward; see `roboreward_gym.rewards`."""
    training_episodes: int = 100
    """Episodes of fine-tuning, the warm-up included; those of the validation come after them."""
    base_episodes: int = 200
    """Evaluation episodes before training."""
    final_episodes: int = 200
    """Evaluation episodes after training."""
    seed: int = 0
    """Seed of the run: for its start states, its noise and its networks."""
    dsrl: DsrlConfig = field(default_factory=DsrlConfig)
    """The fine-tuner's settings."""

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """Build from what a run folder's `config.json` says; entries that are not ours are left out."""
        ours: dict[str, Any] = {f.name: plain[f.name] for f in dataclasses.fields(cls)}
        ours["dsrl"] = DsrlConfig(**ours["dsrl"])
        return cls(**ours)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < RUNS:
            raise InvalidSetting(f"seed must be in 0..{RUNS - 1}, got {self.seed}.")
        counts = {
            "training_episodes": self.training_episodes + self.dsrl.validation_episodes,
            "base_episodes": self.base_episodes,
            "final_episodes": self.final_episodes,
        }
        for name, count in counts.items():
            if getattr(self, name) < 1 or count > BLOCK:
                raise InvalidSetting(f"{name} must be in 1..{BLOCK}, got {getattr(self, name)}.")


def training_seeds(run: int) -> range:
    """Reset seeds that training in run `run` may use."""
    return TRAINING_SEEDS[run * BLOCK : (run + 1) * BLOCK]


def evaluation_seeds(run: int, episodes: int) -> range:
    """Reset seeds of run `run`'s evaluations; the same before and after, so they can be paired."""
    return EVALUATION_SEEDS[run * BLOCK :][:episodes]


def _config(entry: TaskEntry, reward: str) -> ExperimentConfig:
    """The experiment of a task and a name of `REWARDS`, or the full name of a reward model."""
    model, reward_map = REWARDS.get(reward, (reward, "progress"))
    if reward in REWARDS:
        model = model.format(task=entry.name, duration_s=entry.max_episode_steps / FPS)
    return ExperimentConfig(
        re.sub(r"[^\w.-]+", "-", f"{entry.name}-{reward}"),  # it becomes the name of a folder
        entry.env_id,
        f"policies/weights/{entry.name}",
        model,
        reward_map,
        training_episodes=entry.training_episodes,
    )


CONFIGS: dict[str, ExperimentConfig] = {
    f"{entry.name}-{reward}": _config(entry, reward) for entry in TASKS for reward in REWARDS
}
DEMO = dataclasses.replace(
    CONFIGS["toy-on-towel-nano"],
    name="demo",
    base_episodes=100,
    final_episodes=100,
)


def get_config(name: str, *, seed: int = 0) -> ExperimentConfig:
    """Return a named experiment.

    Raises:
        UnknownName: No experiment of that name; suggests the closest.
    """
    if name in CONFIGS:
        return dataclasses.replace(CONFIGS[name], seed=seed)
    for entry in TASKS:
        reward = name.removeprefix(f"{entry.name}-")
        if ":" in reward and reward != name:
            return dataclasses.replace(_config(entry, reward), seed=seed)
    raise UnknownName("experiment", name, CONFIGS)


def task_and_reward(name: str) -> tuple[str, str]:
    """Name of the task and of the reward source of an experiment's name."""
    task = next(entry.name for entry in TASKS if name.startswith(f"{entry.name}-"))
    return task, name.removeprefix(f"{task}-")
