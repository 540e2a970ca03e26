"""The settings of a fine-tuning."""

from dataclasses import dataclass
from typing import Literal, get_args

from policies.dsrl.sac import SacConfig
from policies.settings import require_positive
from roboreward_gym.errors import InvalidSetting

Algorithm = Literal["best_of_n", "sac", "noise_aliased", "filtered_bc", "weighted_bc"]
ACTORS = ("sac", "noise_aliased")
"""Algorithms with an actor, which learn by temporal differences."""
BootstrapRule = Literal["never", "at_time_limit"]


@dataclass(frozen=True)
class DsrlConfig(SacConfig):
    """The fine-tuner's settings, those of its networks and updates included."""

    algorithm: Algorithm = "best_of_n"
    """`best_of_n`: play the noise whose decoded actions critics value most, of several. `sac`: an actor chooses the noise
    (DSRL-SAC); one decoding per chunk, for base policies that are slow to decode. `noise_aliased`: the actor learns from critics
    that are distilled from those of the actions (DSRL-NA); its updates decode. Baselines that change the policy itself:
    `filtered_bc` clones the episodes of success, `weighted_bc` all by their reward."""
    candidates: int = 32
    """Noises to choose from under `best_of_n`."""
    candidate_scale: float = 0.7
    """Standard deviation of these noises. Below 1 the decoder stays closer to the modes of the demonstrations, which costs it variety
    and makes its motion more precise."""
    warm_up_episodes: int = 40
    """Episodes of the base policy before the first update; the validation is compared with them."""
    warm_up_updates: int = 500
    """Updates of the critics alone, once, after the warm-up."""
    updates_per_chunk: int = 20
    """Critic updates per new transition, as in DSRL's own Robomimic runs."""
    validation_episodes: int = 50
    """Episodes of the final policy after learning, to compare with the warm-up."""
    significance: float = 0.05
    """Largest p-value of the comparison with which the fine-tuned policy is kept: how often a reward that means nothing
    passes."""
    gamma: float = 0.99
    """Discount per env step."""
    steered_components: int = 2
    """Cosine components along the chunk that the actor of `sac` chooses; the chunk length steers all of it."""
    unsteered_noise_scale: float = 1.0
    """Scale of the random noise in the components that are not steered."""
    time_feature_steps: int = 40
    """Env steps that the time feature (the time into the episode) counts as 1, best the time limit; 0 leaves it out."""
    bootstrap: BootstrapRule = "never"
    """Which ends have a value after them. `never`: none, because a graded reward at the time limit is the whole return.
    `at_time_limit`: those without success that the env does not call `terminated`; for binary and -1/0 rewards.
    Needs `sac` or `noise_aliased`, and `time_feature_steps` 0."""
    success_reward: float = 1.0
    """Terminal reward that means success, under `at_time_limit` and for `filtered_bc`: 1 for binary and progress, 0 for
    -1/0."""
    capacity: int = 20_000
    """Transitions in the replay."""
    save_every: int = 10
    """Episodes between checkpoints."""
    device: str = "cpu"
    """Torch device of the learner, such as cpu or cuda."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(
            self,
            "candidates",
            "candidate_scale",
            "warm_up_episodes",
            "warm_up_updates",
            "validation_episodes",
            "steered_components",
            "save_every",
        )
        if not 0 < self.gamma <= 1:
            raise InvalidSetting(f"gamma must be in (0, 1], got {self.gamma}.")
        if self.bootstrap not in get_args(BootstrapRule):
            raise InvalidSetting(
                f"bootstrap must be one of {get_args(BootstrapRule)}, got {self.bootstrap!r}."
            )
        if self.algorithm not in get_args(Algorithm):
            raise InvalidSetting(
                f"algorithm must be one of {get_args(Algorithm)}, got {self.algorithm!r}."
            )
        if self.bootstrap == "at_time_limit" and self.algorithm not in ACTORS:
            raise InvalidSetting(
                f"bootstrap at_time_limit needs algorithm {' or '.join(ACTORS)}: {self.algorithm} learns from whole returns."
            )
        if self.bootstrap == "at_time_limit" and self.time_feature_steps:
            raise InvalidSetting(
                "bootstrap at_time_limit needs time_feature_steps 0: at the time limit the time feature has a value "
                "that no transition starts from, so those values are never trained."
            )
