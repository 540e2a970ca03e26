"""Put a trained nano where it is shipped from: `python -m reward_models.nano.ship --run DIR --metrics FILE.json`.

Copies the checkpoint that the run selected to `nano/weights`, the measured numbers to `nano/metrics.json`, and writes the
model card from what the run itself recorded, so that the card cannot say anything else. Settings are written as the installed
libraries write them: the training may have run with newer ones, of whose settings older ones complain.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from transformers import Qwen2Tokenizer

from reward_models.nano import NAME, WEIGHTS
from reward_models.nano.config import LANGUAGE_STAGE, NanoSize
from reward_models.nano.model import build_config, build_model, build_processor, save
from reward_models.nano.tasks import TASKS
from reward_models.qwen3vl.familiarity import FILE as FAMILIARITY
from reward_models.qwen3vl.loading import load_model
from reward_models.qwen3vl.trained_tasks import FILE as TRAINED_TASKS
from reward_models.training.run_folder import SELECTED
from roboreward_gym._cli import run_program
from roboreward_gym.errors import WeightsError

LIMIT_BYTES = 15_000_000
"""More than this does not belong into a source repository."""


@dataclass(frozen=True)
class ShipConfig:
    """What to ship."""

    run: Path
    """Folder of a finished training run."""
    metrics: Path
    """JSON that `roboreward bench` wrote about it."""
    command: str
    """Command line of the training run, for the card."""
    minutes: float
    """Time that the training took, for the card, in [min]."""
    weights: Path = WEIGHTS
    """Where to."""


def ship(config: ShipConfig) -> None:
    """Copy weights and numbers and write the card.

    Raises:
        WeightsError: The run is not finished, or its weights are too large to ship.
    """
    model = config.run / "model"
    selected = config.run / SELECTED
    if not model.is_dir() or not selected.is_file():
        raise WeightsError(
            f"There is no finished run in {config.run}: {model.name} or {selected.name} is missing. "
            "Finish the training: the same command continues it."
        )
    size = sum(path.stat().st_size for path in model.iterdir())
    if size > LIMIT_BYTES:
        raise WeightsError(
            f"The model has {size} bytes, more than the limit of {LIMIT_BYTES}. Train a smaller one."
        )
    numbers = _read(config.metrics) | {"model": NAME}
    runs = runs_of(config.run)
    text = card(config, runs, _read(selected), numbers)
    shutil.rmtree(config.weights, ignore_errors=True)
    _write_model(model, NanoSize(**runs[0]["size"]), config.weights)
    for path in config.weights.iterdir():
        path.chmod(0o644)
    (config.weights / "README.md").write_text(text, encoding="utf-8")
    _write(config.weights / TRAINED_TASKS, TASKS)
    _write(config.weights.parent / "metrics.json", numbers)


def _write_model(model: Path, size: NanoSize, weights: Path) -> None:
    tokenizer = Qwen2Tokenizer.from_pretrained(model)
    same = build_model(build_config(size, tokenizer), seed=0)
    same.load_state_dict(load_model(model, torch.float32).state_dict())
    save(same, build_processor(tokenizer), weights)
    # The tokenizer as it was made: the library notes in a copy from where it was read.
    for name in ("tokenizer.json", "tokenizer_config.json", FAMILIARITY):
        if (model / name).is_file():
            shutil.copyfile(model / name, weights / name)


def runs_of(run: Path) -> list[dict[str, Any]]:
    """Return the configurations of a run and of those whose tower or language model it began with, the first one first.

    Raises:
        WeightsError: The folder of one of them is not there, so the card could not say how the model was made.
    """
    path = run / "config.json"
    if not path.is_file():
        raise WeightsError(
            f"There is no {path}, which says how the model was trained. Ship from the folder where the runs are."
        )
    config = _read(path)
    if config["stage"] != "tower":
        config["examples_per_step"] = _read(run / LANGUAGE_STAGE / "config.json")[
            "examples_per_step"
        ]
    model, tower = config["language_init"], config["tower_from"]
    earlier_run = tower if model is None else Path(model).parent
    return [config] if earlier_run is None else [*runs_of(Path(earlier_run)), config]


def card(
    config: ShipConfig,
    runs: Sequence[Mapping[str, Any]],
    selected: Mapping[str, Any],
    numbers: Mapping[str, Any],
) -> str:
    """Write the model card.

    Args:
        config: Command line and time of the training.
        runs: Configurations of the runs that made it, in their order.
        selected: Which step the weights are, and by which validation error they were chosen.
        numbers: What `roboreward bench` measured.
    """
    without = numbers.get("no_negatives", {})
    rows = [
        ("nano", numbers["macro_mae"], numbers["false_positive_rate"]),
        ("nano without negatives", without.get("macro_mae"), without.get("false_positive_rate")),
        ("always 3", numbers["always_three_macro_mae"], 0.0),
    ]
    table = "\n".join(
        f"| {name} | {mae:.3f} | {rate:.1%} |" for name, mae, rate in rows if mae is not None
    )
    error = selected["validation_macro_mae"]
    chosen = (
        f"Weights of step {selected['step']} of {selected['steps']}, the lowest macro MAE on the "
        f"validation split ({error:.3f})."
        if error is not None
        else f"Weights of the last step ({selected['step']}): the run had no validation split."
    )
    abstains = (config.run / "model" / FAMILIARITY).is_file()
    warning = (
        "Where the words or the pictures of a question lie outside this world it abstains: the score has no level."
        if abstains
        else "It logs a warning when it is asked about a task that it was not trained on."
    )
    robustness = _robustness(numbers)
    tasks = "\n".join(f"- {scene}: {', '.join(names)}" for scene, names in TASKS.items())
    count = sum(map(len, TASKS.values()))
    return f"""\
# {NAME}

A Qwen3-VL of a few million parameters that scores episodes of the simulated WidowX from 1 to 5, by the prompt, the frame
protocol and the processor class of RoboReward.

**For the simulated WidowX of this repository only.** It knows two simulated scenes and {count} tasks, and nothing of the
world outside them: scores of another environment, of a real robot or of another task would mean nothing. {warning} For
anything else use `roboreward-4b`, `roboreward-8b` or a model behind an API.

Tasks, in these words:

{tasks}

| reward model | macro MAE | false-positive rate (predicted 5, true level < 5) |
| --- | --- | --- |
{table}

Measured on {numbers["examples"]} examples of {numbers["episodes"]} episodes of the {numbers["split"]} split, whose seeds, colours
and camera poses training never saw. Macro: the plain mean over scenes and kinds of example.
{robustness}
- Command: `{config.command}`
- {config.minutes:.0f} minutes of training.
{_stages(runs)} {chosen}
- Weights: half precision, safetensors. Licence: that of this repository.
"""


def _stages(runs: Sequence[Mapping[str, Any]]) -> str:
    """How tower and language model were trained, in their order."""
    tower = runs[0]["tower"]
    language = ", then ".join(
        f"{run['language']['steps']} steps of {run['examples_per_step']} questions (seed {run['seed']})"
        for run in runs
        if run["stage"] != "tower"
    )
    return f"""\
- Tower: {tower["steps"]} steps of {tower["batch_size"]} pairs of frames on dense labels of the simulator (seed {runs[0]["seed"]}).
- Language model, tower frozen: {language}."""


def _robustness(numbers: Mapping[str, Any]) -> str:
    """What `benchmarks.nano_robustness` added to the numbers, if it was run."""
    if "shifts" not in numbers:
        return ""
    shares = (
        ("false positives on episodes of a fine-tuned policy", "on_policy_false_positive_rate"),
        ("goals true at the start and given up, scored right", "start_is_goal_accuracy"),
        ("recordings that run on for 24 s after success, scored 5", "run_on_24s_rate"),
        ("questions of other worlds that it abstains from", "abstains_elsewhere"),
        ("questions of its own world that it abstains from", "abstains_at_home"),
    )
    macro = {
        "nothing": numbers["simreward"]["in_range"]["macro_mae"],
        **{name.replace("_", " "): mae for name, mae in numbers["shifts"].items()},
        "words that training never had": numbers["unseen_wordings_macro_mae"],
    }
    rows = [f"| {name} | {mae:.3f} |" for name, mae in macro.items()]
    rows += ["", "| what | share |", "| --- | --- |"]
    rows += [
        f"| {name} | {numbers[key]:.1%} |" for name, key in shares if numbers.get(key) is not None
    ]
    table = "\n".join(rows)
    return f"""
On other episodes, with one thing changed at a time (`python -m benchmarks.nano_robustness`):

| changed | macro MAE |
| --- | --- |
{table}
"""


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    run_program(lambda: ship(tyro.cli(ShipConfig, description=__doc__)))
