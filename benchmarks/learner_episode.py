"""Where the time of a training episode goes: `python -m benchmarks.learner_episode`.

Plays the drawer with roboreward-nano as the reward model and updates as a run does. If scoring ran beside the updates, at
most the shorter of the two would be saved: that bound is recorded, too.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from tqdm import trange

from benchmarks.foundations import record
from experiments.config import get_config, training_seeds
from experiments.reward_sources import scored_env
from experiments.workers import prepare
from policies.dsrl.learner import Learner
from policies.player import play_without_fault
from policies.policy import DiffusionPolicy
from roboreward_gym.registry import load_reward_model, register_reward_model
from roboreward_gym.types import Clip, ProgressScore

EPISODES = 20
SKIPPED = 4
"""First episodes, in which caches fill."""


class Timed:
    """A reward model that notes how long its last call took."""

    def __init__(self, name: str) -> None:
        self._model = load_reward_model(name)
        self.seconds = 0.0

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Score, and note the time."""
        begin = time.perf_counter()
        scores = self._model.score(clips)
        self.seconds = time.perf_counter() - begin
        return scores


def main() -> None:
    """Play, measure and keep the medians."""
    prepare(threads=1)
    config = get_config("drawer-nano")
    timed = Timed(config.reward_model)
    register_reward_model("timed", lambda: timed)
    env = scored_env(config.env_id, "timed")
    policy = DiffusionPolicy.load(Path(config.policy))
    learner = Learner(config.dsrl, policy)
    seconds: dict[str, list[float]] = {"play": [], "score": [], "update": []}
    for number in trange(EPISODES, desc="episodes"):
        begin = time.perf_counter()
        seed = training_seeds(0).start + number
        episode = play_without_fault(
            env, policy, learner.explore, seed=seed, generator=learner.generator
        )
        played = time.perf_counter()
        learner.add(episode)
        learner.learn(config.dsrl.updates_per_chunk * len(episode.executed), actor=True)
        updated = time.perf_counter()
        parts = (played - begin - timed.seconds, timed.seconds, updated - played)
        for name, value in zip(seconds, parts, strict=True):
            seconds[name].append(value)
    env.close()
    medians = {name: round(median(values[SKIPPED:]), 4) for name, values in seconds.items()}
    bound = min(medians["score"], medians["update"]) / sum(medians.values())
    measured = {**medians, "largest_share_that_overlap_could_save": round(bound, 4)}
    record(learner_episode_seconds=measured)
    print(measured)


if __name__ == "__main__":
    main()
