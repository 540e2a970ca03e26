"""Fine-tune a Qwen3-VL as a reward model: `roboreward train NAME --data DIR [DIR ...] --out DIR`.

NAME is a set of hyper-parameters, each of which can be changed. The vision tower stays frozen, only the answer carries loss, and
prompt and frames are those of scoring. The checkpoint with the lowest macro MAE on the validation split becomes `OUT/model`, which
every command takes as `checkpoint:OUT/model`. The same command continues a run that was stopped. On several GPUs:
`torchrun --nproc-per-node 8 -m reward_models.commands.train NAME --sft.fsdp ...`.
"""

import json
import re
import sys
from pathlib import Path

import tyro

from reward_models.training.config import DESCRIPTIONS, NAMED, TrainConfig
from roboreward_gym._cli import keep_freed_memory, run_program

NANO = "roboreward-nano"
PUBLISHED_NAME = re.compile(r"(?:Qwen3-VL|RoboReward)-(4B|8B)", re.I)
"""In the hub ids of models whose shapes are known without fetching anything."""


def main(argv: list[str] | None = None) -> int:
    """Train, as the command line says."""
    named = {name: (DESCRIPTIONS[name], config) for name, config in NAMED.items()}
    config = tyro.extras.overridable_config_cli(
        named, args=argv, prog="roboreward train", description=__doc__
    )
    if config.plan:
        sys.stdout.write(plan(config))
        return 0
    # Torch and transformers take seconds to import: only once it is known that there is something to train.
    from reward_models.training.data import open_training_data
    from reward_models.training.run import fine_tune, is_first

    keep_freed_memory()
    train, validation = open_training_data(config.data, config.validation_examples)
    base = base_folder(config.model)
    fine_tune(base, config.sft, train, validation, config.out, features=config.features)
    if is_first():
        sys.stdout.write(finished(config.out))
    return 0


def finished(out: Path) -> str:
    """Say where the model of a finished run is, and which of its steps."""
    from reward_models.training.run_folder import MODEL, SELECTED

    chosen = json.loads((out / SELECTED).read_text(encoding="utf-8"))
    error = chosen["validation_macro_mae"]
    why = "" if error is None else f", validation macro MAE {error:.3f}"
    return (
        f"{out / MODEL}: step {chosen['step']} of {chosen['steps']}{why}. "
        f"Use it as checkpoint:{out / MODEL}\n"
    )


def base_folder(model: str) -> Path:
    """Find the checkpoint that a model's name means, or fetch it.

    Raises:
        WeightsError: There is no such checkpoint.
    """
    from reward_models.qwen3vl.checkpoint import find_checkpoint

    place, revision = _place(model)
    return find_checkpoint(place, revision=revision).folder


def plan(config: TrainConfig) -> str:
    """Write what the training needs; nothing but a small file of an unknown model is fetched."""
    from reward_models.qwen3vl.checkpoint import check_folder, find_checkpoint
    from reward_models.qwen3vl.loading import read_config
    from reward_models.qwen3vl.shapes import PUBLISHED_SHAPES, shape_config
    from reward_models.training.plan import format_plan

    place, revision = _place(config.model)
    published = PUBLISHED_NAME.search(place)
    if published is not None and not Path(place).is_dir():
        shapes = shape_config(PUBLISHED_SHAPES[published[1].lower()])
    else:
        folder = find_checkpoint(place, revision=revision, weights=False).folder
        check_folder(folder)
        shapes = read_config(folder)
    return format_plan(config.model, shapes, config.sft, cached=config.features is not None)


def _place(model: str) -> tuple[str, str | None]:
    """Folder or hub id, and revision."""
    from reward_models.nano import WEIGHTS
    from reward_models.qwen3vl.published import PUBLISHED

    if model == NANO:
        return str(WEIGHTS), None
    if model in PUBLISHED:
        return PUBLISHED[model].hub_id, PUBLISHED[model].revision
    folder = model.removeprefix("checkpoint:")
    if Path(folder).expanduser().is_dir():
        return folder, None
    place, _, revision = folder.partition("@")
    return place, revision or None


if __name__ == "__main__":
    run_program(main)
