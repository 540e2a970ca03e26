"""A checkpoint of the trainer as a complete model folder."""

import json
import shutil
from collections.abc import Set
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import Qwen3VLForConditionalGeneration

from reward_models.qwen3vl.loading import load_model
from reward_models.training.projector import is_of_tower
from reward_models.training.run_folder import SELECTED, best_checkpoint
from roboreward_gym.errors import WeightsError

ADAPTER = "adapter_config.json"
PROCESSOR_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
)
"""What a checkpoint holds beside weights and configuration, as far as it is there."""
PROCESSORS = (
    ("processor_config.json",),
    ("preprocessor_config.json", "video_preprocessor_config.json"),
)
"""The frame settings are in one file or, in older checkpoints, in two."""


def check_processor_files(folder: Path) -> None:
    """Check that a checkpoint has the files that its copy will need to be a whole one.

    Raises:
        WeightsError: Some are missing.
    """
    if any(all((folder / name).is_file() for name in names) for names in PROCESSORS):
        return
    wanted = " or ".join(" with ".join(names) for names in PROCESSORS)
    raise WeightsError(
        f"{folder} has no {wanted}. Fetch the checkpoint again, or copy these files from the model that it "
        "was made from."
    )


def export_best(base: Path, out: Path, model: Path) -> None:
    """Write the best checkpoint of a run as a model, and which it is as `OUT/selected.json`.

    Args:
        base: The checkpoint folder that the run began with.
        out: Folder of the run.
        model: Where to.
    """
    checkpoint, selected = best_checkpoint(out)
    (out / SELECTED).write_text(json.dumps(selected, indent=2) + "\n", encoding="utf-8")
    write_model(base, checkpoint, model)


def write_model(base: Path, checkpoint: Path, folder: Path) -> None:
    """Put the trained weights of a checkpoint into the model that it was made from.

    The folder gets its name when it is whole: whoever finds it, finds all of it.
    """
    model = load_model(base, _stored_dtype(base))
    if (checkpoint / ADAPTER).is_file():
        from peft import PeftModel

        trained: Any = PeftModel.from_pretrained(model, checkpoint).merge_and_unload()
    else:
        trained = load_trained(model, checkpoint)
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    trained.save_pretrained(partial)
    for name in PROCESSOR_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, partial / name)
    partial.replace(folder)


def load_trained(
    model: Qwen3VLForConditionalGeneration, checkpoint: Path
) -> Qwen3VLForConditionalGeneration:
    """Copy the weights of a checkpoint into a model; the frozen tower need not be among them.

    Raises:
        WeightsError: The checkpoint has no weights, or those of another model.
    """
    files = sorted(checkpoint.glob("model*.safetensors"))
    missing = set(model.state_dict())
    for file in files:
        try:
            result = model.load_state_dict(load_file(file), strict=False)
        except RuntimeError as error:  # sizes that do not fit
            raise WeightsError(f"{file} is of another model: {error}. Choose another.") from error
        if result.unexpected_keys:
            raise WeightsError(
                f"{file} is of another model: it has {result.unexpected_keys[0]}. Choose another."
            )
        missing &= set(result.missing_keys)
    lost = sorted(name for name in missing - _there_anyway(model, missing))
    if lost or not files:
        raise WeightsError(
            f"The checkpoint {checkpoint} lacks {lost[0] if lost else 'weights'}. Choose another."
        )
    return model


def _there_anyway(model: Qwen3VLForConditionalGeneration, missing: Set[str]) -> set[str]:
    """Weights that a checkpoint may lack: the frozen tower's, and one of two that are the same."""
    names: set[str] = {name for name in missing if is_of_tower(name)}
    pair = {"lm_head.weight", "model.language_model.embed_tokens.weight"}
    if model.config.tie_word_embeddings and not pair <= missing:
        names |= pair
    return names


def _stored_dtype(folder: Path) -> torch.dtype:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    name = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    return getattr(torch, str(name))
