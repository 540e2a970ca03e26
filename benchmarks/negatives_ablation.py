"""What each kind of negative is worth: `python -m benchmarks.negatives_ablation --base MODEL --test DIR --organic KIND:PATH`.

The insight of RoboReward, made again small: a nano that has never met a score (`benchmarks.score_free_base`) is trained on successes
only, then also on truncated videos, on other tasks for the same video, on both, and on real failures. The labels of truncated videos and
other tasks are those that the paper's pipeline assigns (`roboreward augment`: 10, 30, 50 and 70 % of a video have the rewards 1 to 4;
tasks are proposed for a level), not the simulator's; only the real failures (`organic`) have true levels, as people gave them to
RoboArena's. Every condition has as many steps of as many examples, and three seeds. Measured on episodes whose true levels the simulator
knows, with the controls of `roboreward bench`.

Successes are recorded first if `--successes` is not there. The frozen tower looks at each video once, for all runs; a run and a
measurement that are there are not repeated, and one that was stopped goes on. About six minutes of CPU time for each of the 15 runs.
Written to `benchmarks/results/negatives_ablation.json` and `docs/images/negatives_ablation.png`.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import tyro
from matplotlib.figure import Figure

from benchmarks.augment import AS_RENDERED, GRAMMAR
from benchmarks.short_runs import ShortRuns, over_seeds, print_table
from experiments.simulation.published_data import PublishedDataConfig, collect
from experiments.workers import prepare
from reward_models.augment.config import AugmentConfig
from reward_models.augment.run import run as augment
from reward_models.bench.benchmark import BenchmarkConfig
from reward_models.bench.benchmark import run as bench
from reward_models.data.example import Example, examples
from reward_models.data.simulator import read_notes
from reward_models.data.sources import ReadOptions, read_source
from reward_models.data.splits import Fractions
from reward_models.training.data import example_set
from roboreward_gym._cli import run_program
from roboreward_gym.errors import InvalidSetting

RESULTS = Path(__file__).parent / "results" / "negatives_ablation.json"
PLOT = Path("docs/images/negatives_ablation.png")
CONDITIONS: Mapping[str, frozenset[str]] = {
    "successes only": frozenset({"original"}),
    "+ truncated": frozenset({"original", "truncated"}),
    "+ other tasks": frozenset({"original", "counterfactual"}),
    "+ both": frozenset({"original", "truncated", "counterfactual"}),
    "+ both and real failures": frozenset({"original", "truncated", "counterfactual", "organic"}),
}
"""Kinds of examples of each condition."""
NUMBERS = ("macro_mae", "level_macro_mae", "false_positive_rate", "true_positive_rate")
PLOTTED = ("macro_mae", "false_positive_rate")


@dataclass(frozen=True)
class AblationConfig(ShortRuns):
    """What to compare."""

    test: str
    """Data with true levels to measure on: what `roboreward bench --data` takes."""
    organic: str
    """KIND:PATH of episodes with true levels, SimReward for example; those of the kind `organic` in its split `train` are
    taken, if they look as in training."""
    successes: Path = Path("runs/ablation/successes")
    """Successes of scripted experts (`experiments.simulation.published_data`); recorded if they are not there."""
    runs: Path = Path("runs/ablation")
    """Folder of the runs."""
    episodes: int = 200
    """Successes per scene, if they are recorded."""
    verifier: str = "accept"
    """Who verifies labels: `accept` keeps every label as the pipeline assigns it."""
    limit: int = 400
    """Test examples, drawn in proportion from every subset."""
    out: Path = RESULTS
    """JSON file to write."""
    plot: Path = PLOT
    """Picture to write."""


def negatives(config: AblationConfig) -> Path:
    """Let the pipeline label other tasks and truncated videos of the successes; returns the folder of the set."""
    if not (config.successes / "truth.jsonl").exists():
        collect(
            PublishedDataConfig(config.successes, config.episodes, video=AS_RENDERED, workers=1)
        )
    out = config.runs / f"augmented-{config.verifier.replace(':', '-')}"
    roles = replace(GRAMMAR, verifier=config.verifier)
    source = f"simulator:{config.successes}"
    augment(
        AugmentConfig(
            source, out, roles, video=AS_RENDERED, splits=Fractions(1.0, 0.0, 0.0), concurrency=1
        )
    )
    return out


def labelled(augmented: Path, organic: str) -> list[Example]:
    """All examples that a condition may have: those of the pipeline, and real failures with their true levels."""
    train = ReadOptions(split="train")
    made = list(examples(read_source(f"published:{augmented}", train)))
    real = [
        example
        for example in examples(read_source(organic, train))
        if example.kind == "organic" and example.reward is not None
    ]
    return made + list(as_in_training(real))


def as_in_training(real: Sequence[Example]) -> Iterator[Example]:
    """Leave out what looks otherwise than the successes do, if the data say so."""
    notes: dict[Path, dict[str, Any]] = {}
    for example in real:
        file = example.video.file
        split = file.parent.parent if file else None
        if file is None or split is None or not (split / "simulator.jsonl").is_file():
            yield example
            continue
        about = notes.setdefault(split, dict(read_notes(split)))
        if not about[f"{file.parent.name}/{file.name}"].shifts:
            yield example


def train(config: AblationConfig, chosen: Sequence[Example], seed: int, folder: Path) -> Path:
    """Train once; returns the checkpoint."""
    config.train(example_set(chosen), None, folder, seed=seed, order="random")
    return folder / "model"


def measure(config: AblationConfig, model: Path, out: Path) -> dict[str, Any]:
    """Ask a checkpoint the test examples and the controls, unless the answers are there."""
    if out.is_file():
        return json.loads(out.read_text(encoding="utf-8"))
    settings = BenchmarkConfig(
        str(model), (config.test,), out, controls=True, limit=config.limit, bootstrap=200
    )
    return bench(settings)


def summary(measured: Sequence[Mapping[str, Any]], count: int) -> dict[str, Any]:
    """Mean and standard deviation over seeds, the numbers themselves, and the controls of all seeds together."""
    table: dict[str, Any] = {"examples": count}
    for name in NUMBERS:
        values = [found[name] for found in measured]
        table[name] = {
            **over_seeds(values),
            "intervals": [found["intervals"][name] for found in measured],
        }
    names = measured[0]["controls"]["controls"]
    rows = {name: [found["controls"]["controls"][name] for found in measured] for name in names}
    table["controls"] = {
        name: {
            "rule": parts[0]["rule"],
            "asked": sum(part["asked"] for part in parts),
            "violations": sum(part["violations"] for part in parts),
        }
        for name, parts in rows.items()
    }
    return table


def draw(found: Mapping[str, Any], path: Path) -> None:
    """One panel a number: every seed with its 95 % interval over episodes, and the mean."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    panels = figure.subplots(1, len(PLOTTED))
    for panel, name in zip(panels, PLOTTED, strict=True):
        for place, condition in enumerate(found):
            number = found[condition][name]
            for seed, value in enumerate(number["seeds"]):
                low, high = number["intervals"][seed]
                x = place + 0.18 * (seed - (len(number["seeds"]) - 1) / 2)
                bars = [[max(0.0, value - low)], [max(0.0, high - value)]]
                panel.errorbar(x, value, yerr=bars, fmt="o", color="tab:blue", ms=3, lw=1)
            panel.hlines(number["mean"], place - 0.35, place + 0.35, color="tab:orange")
        panel.set_xticks(
            range(len(found)), [c.replace(" and ", "\nand ") for c in found], rotation=20
        )
        panel.set_ylabel(name.replace("_", " "))
        panel.set_ylim(bottom=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Train, measure, write and print."""
    config = tyro.cli(AblationConfig, description=__doc__)
    mpl.use("agg")
    prepare(threads=1)
    pool = labelled(negatives(config), config.organic)
    if not any(example.kind == "organic" for example in pool):
        raise InvalidSetting(
            f"{config.organic} has no episode of the kind organic in its split train. Name SimReward: "
            "python -m experiments.simulation.simreward."
        )
    chosen = {c: [e for e in pool if e.kind in kinds] for c, kinds in CONDITIONS.items()}
    measured: dict[str, list[dict[str, Any]]] = {condition: [] for condition in CONDITIONS}
    config.out.parent.mkdir(parents=True, exist_ok=True)
    # Seeds in the outer loop: a comparison that is stopped has as many runs of every condition.
    for seed in range(config.seeds):
        for place, condition in enumerate(CONDITIONS):
            used = time.process_time()
            folder = config.runs / f"{place}-seed{seed}"
            model = train(config, chosen[condition], seed, folder)
            measured[condition].append(measure(config, model, folder / "bench.json"))
            minutes = (time.process_time() - used) / 60
            print(f"{condition}, seed {seed}: {minutes:.1f} minutes of CPU time", flush=True)
        found = {c: summary(rows, len(chosen[c])) for c, rows in measured.items()}
        written = {
            "base": "roboreward-nano without scores",
            "verifier": config.verifier,
            **config.about,
            "test_examples": measured["successes only"][0]["examples"],
            "conditions": found,
        }
        config.out.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
        draw(found, config.plot)
    print_table("condition", NUMBERS, found)


if __name__ == "__main__":
    run_program(main)
