"""Where the CPU time of a training episode goes: `python -m benchmarks.learner_episode`.

Fine-tunes on the drawer with roboreward-nano as the reward model. `--before CHECKOUT` measures whole episodes there, too, in turn
with ours, and keeps the ratio as a row of `benchmarks/results/side_by_side.json`.
"""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import tyro

from benchmarks.side_by_side import RESULTS, record_row

WARM_UP = 4
"""First episodes, in which caches fill."""
PROFILE = RESULTS.with_name("learner_episode.json")

WHOLE_EPISODES = """
import dataclasses, json, sys, tempfile, time
from pathlib import Path
from experiments.config import get_config
from experiments.reward_sources import scored_env
from experiments.workers import prepare
from policies.dsrl.training import train
from policies.policy import DiffusionPolicy
prepare(threads=1)
warm_up, episodes = int(sys.argv[1]), int(sys.argv[2])
config = get_config("drawer-nano")
dsrl = dataclasses.replace(config.dsrl, warm_up_episodes=warm_up, warm_up_updates=1, save_every=1000)
times = [time.process_time()]
def on_episode(number, *_):
    times.append(time.process_time())
    if number + 1 == episodes:
        raise KeyboardInterrupt
try:
    train(scored_env(config.env_id, config.reward_model), DiffusionPolicy.load(Path(config.policy)), dsrl,
          run_dir=Path(tempfile.mkdtemp()), episodes=episodes, on_episode=on_episode)
except KeyboardInterrupt:
    pass
print(json.dumps([b - a for a, b in zip(times, times[1:])][warm_up:]))
"""
"""Runs in this checkout and in those of before: CPU seconds of each episode after the warm-up."""


class Clock:
    """CPU seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, which notes its time."""

        def noted(*args: Any, **options: Any) -> Any:
            begin = time.process_time()
            try:
                return work(*args, **options)
            finally:
                spent = time.process_time() - begin
                self.seconds[name] = self.seconds.get(name, 0.0) + spent

        return noted


def profile(episodes: int) -> dict[str, Any]:
    """Median CPU seconds of an episode in reward model, policy, updates, and the rest, which is the simulation."""
    from experiments.config import get_config
    from experiments.reward_sources import scored_env
    from experiments.workers import prepare
    from policies.dsrl.learner import Learner
    from policies.dsrl.training import train
    from policies.policy import DiffusionPolicy
    from roboreward_gym.registry import load_reward_model, register_reward_model

    prepare(threads=1)
    config, clock = get_config("drawer-nano"), Clock()
    model: Any = load_reward_model(config.reward_model)
    model.score = clock.timed("reward model", model.score)
    register_reward_model("timed", lambda: model)
    policy: Any = DiffusionPolicy.load(Path(config.policy))
    policy.encode = clock.timed("policy", policy.encode)
    policy.decode = clock.timed("policy", policy.decode)
    learner: Any = Learner
    update, rows = learner.learn, []
    learner.learn = clock.timed("updates", update)
    clock.seconds["whole"] = -time.process_time()

    def on_episode(*_: Any) -> None:
        clock.seconds["whole"] += time.process_time()
        rows.append(dict(clock.seconds))
        clock.seconds = {"whole": -time.process_time()}

    dsrl = dataclasses.replace(config.dsrl, warm_up_episodes=WARM_UP, validation_episodes=2)
    with TemporaryDirectory() as folder:
        train(
            scored_env(config.env_id, "timed"),
            policy,
            dsrl,
            run_dir=Path(folder) / "run",
            episodes=WARM_UP + episodes,
            on_episode=on_episode,
        )
    learner.learn = update
    learning = rows[WARM_UP : WARM_UP + episodes]
    seconds = {
        name: median(row.get(name, 0.0) for row in learning)
        for name in ("whole", "reward model", "policy", "updates")
    }
    seconds["simulation and the rest"] = seconds["whole"] - sum(list(seconds.values())[1:])
    shares = {n: round(s / seconds["whole"], 3) for n, s in seconds.items() if n != "whole"}
    return {
        "episodes": episodes,
        "cpu_seconds": {n: round(s, 4) for n, s in seconds.items()},
        "share": shares,
    }


def whole_episodes(checkout: Path, episodes: int) -> float:
    """Median CPU seconds of a whole learning episode in a checkout."""
    command = [sys.executable, "-c", WHOLE_EPISODES, str(WARM_UP), str(WARM_UP + episodes)]
    done = subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True)
    return median(json.loads(done.stdout.splitlines()[-1]))


@dataclasses.dataclass(frozen=True)
class Args:
    """Measure the CPU time of a training episode."""

    episodes: int = 20
    """Episodes to measure."""
    before: Path | None = None
    """Checkout of an earlier state to compare whole episodes with."""
    name: str = "our state before"
    """What that state is called in the table."""
    rounds: int = 3
    """Runs of each state, in turn."""


def main(args: Args) -> None:
    """Measure and keep."""
    if args.before is None:
        measured = profile(args.episodes)
        PROFILE.write_text(json.dumps(measured, indent=2) + "\n")
        print(measured)
        return
    here = Path(__file__).parents[1]
    pairs = [
        (whole_episodes(here, args.episodes), whole_episodes(args.before, args.episodes))
        for _ in range(args.rounds)
    ]
    measured = {
        "ratio": round(median(before / now for now, before in pairs), 2),
        "ours_ms": round(1e3 * median(now for now, _ in pairs), 1),
        "peer_ms": round(1e3 * median(before for _, before in pairs), 1),
    }
    command = "python -m benchmarks.learner_episode --before CHECKOUT"
    record_row("training episode", args.name, "", measured, goal=1.3, command=command)


if __name__ == "__main__":
    main(tyro.cli(Args))
