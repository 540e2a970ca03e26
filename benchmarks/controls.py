"""What nano looks at: `python -m benchmarks.controls [--data FOLDER]`, written to `benchmarks/results/controls.json`.

The violation rate of each control of `roboreward bench --controls`, made from successes of simulated test episodes, and two blind
models as the floor, beside nano's own error on the same examples. Without `--data` the episodes are played first, into `runs/`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from experiments.simulation.reward_data import collect
from experiments.simulation.reward_episodes import RewardDataConfig
from reward_models.bench.benchmark import BenchmarkConfig, run

OUT = Path("benchmarks/results/controls.json")
NUMBERS = ("macro_mae", "mae", "false_positive_rate", "true_positive_rate", "kendall_tau_b")
FIRST_EPISODE = 30_000
"""Number of the first episode in the test split, far from those of the other figures."""


@dataclass(frozen=True)
class ControlsConfig:
    """What to measure."""

    model: str = "roboreward-nano"
    """Name of the reward model."""
    data: Path = Path("runs/data/controls")
    """Folder of reward data; made if it is not there."""
    episodes: int = 120
    """Episodes per scene, if it is made."""
    workers: int = 1
    """Processes that play them."""
    limit: int | None = 400
    """Examples that are asked unchanged, drawn in proportion from every subset."""


def main() -> None:
    """Measure and write."""
    config = tyro.cli(ControlsConfig, description=__doc__)
    if not (config.data / "clips.jsonl").is_file():
        collect(
            RewardDataConfig(
                config.data,
                split="test",
                episodes=config.episodes,
                first=FIRST_EPISODE,
                workers=config.workers,
            )
        )
    name = config.model.replace(":", "-").replace("/", "-")
    out = Path("runs") / f"controls-{name}.json"
    settings = BenchmarkConfig(
        config.model, (str(config.data),), out, controls=True, limit=config.limit, bootstrap=500
    )
    result = run(settings)
    found = {
        "reward_model": config.model,
        "examples": result["examples"],
        "episodes": result["episodes"],
        **{name: result[name] for name in NUMBERS},
        "intervals": {name: result["intervals"][name] for name in NUMBERS},
        **result["controls"],
    }
    OUT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for control, row in result["controls"]["controls"].items():
        print(f"{control:22} {row['rule']:9} {row['violations']}/{row['asked']}")


if __name__ == "__main__":
    main()
