"""The folder of a run: what it was begun with, its checkpoints, and which of them are whole."""

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from reward_models.training.errors import TrainingFailure
from roboreward_gym.errors import WeightsError

CONFIG = "config.json"
CHECKPOINTS = "checkpoints"
MODEL = "model"
SELECTED = "selected.json"
"""File that says which step `OUT/model` is, and by which validation error it was chosen."""
STATE = "trainer_state.json"
"""What the library writes last into a checkpoint."""


def begin_or_continue(
    out: Path, settings: Mapping[str, Any], *, free: Collection[str] = ()
) -> None:
    """Write what the result depends on, or refuse to go on with something else in the same folder.

    Args:
        out: Folder of the run.
        settings: JSON-serialisable, apart from paths.
        free: Settings that may change.

    Raises:
        WeightsError: The run was begun with other settings or other data.
    """
    if (out / CONFIG).is_file():
        check_settings(out, settings, free=free)
    else:
        write_settings(out, settings)


def write_settings(out: Path, settings: Mapping[str, Any]) -> None:
    """Note the settings of a run in its folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / CONFIG).write_text(_text(settings) + "\n", encoding="utf-8")


def check_settings(out: Path, settings: Mapping[str, Any], *, free: Collection[str] = ()) -> None:
    """Compare with what the run was begun with, apart from what is free to change.

    Raises:
        WeightsError: These are others.
    """
    before, now = (
        _flat({key: value for key, value in part.items() if key not in free})
        for part in (_read(out / CONFIG), json.loads(_text(settings)))
    )
    changed = sorted(key for key in before | now if before.get(key) != now.get(key))
    if changed:
        listed = ", ".join(f"{key} ({before.get(key)} then, {now.get(key)} now)" for key in changed)
        raise WeightsError(
            f"The run in {out} was begun with other settings: {listed}. Continue it with the same ones, or "
            "choose another --out."
        )


def last_whole_checkpoint(out: Path) -> Path | None:
    """Return the last checkpoint that was written to its end, and delete later ones that were not."""
    folders = sorted((out / CHECKPOINTS).glob("checkpoint-*"), key=_step, reverse=True)
    for folder in folders:
        if _is_whole(folder):
            return folder
        shutil.rmtree(folder)
    return None


def best_checkpoint(out: Path) -> tuple[Path, dict[str, Any]]:
    """Return the checkpoint with the lowest validation error, or the last one without validation, and what to note of it.

    Raises:
        TrainingFailure: There is none.
    """
    last = last_whole_checkpoint(out)
    if last is None:
        raise TrainingFailure(f"There is no whole checkpoint in {out}. Run the command again.")
    state = _read(last / STATE)
    step = state.get("best_global_step") or state["global_step"]
    selected = {
        "step": step,
        "steps": state["max_steps"],
        "validation_macro_mae": state.get("best_metric"),
    }
    return last.with_name(f"checkpoint-{step}"), selected


def _text(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, indent=2, default=str, sort_keys=True)


def _step(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _is_whole(folder: Path) -> bool:
    try:
        return "global_step" in _read(folder / STATE)
    except (OSError, ValueError):
        return False


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
