"""Errors of reward models on held-out clips, as `roboreward bench` measured them."""

from collections.abc import Sequence
from pathlib import Path

from experiments.run_folder import RunFolderError, read_json


def read_mae(files: Sequence[Path]) -> dict[str, float]:
    """Errors of reward models by their full names, from the files of `roboreward bench`.

    Raises:
        RunFolderError: A file is missing or something else.
    """
    errors: dict[str, float] = {}
    for file in files:
        if not file.exists():
            raise RunFolderError(f"There is no {file}. Make it with `roboreward bench --out {file}`.")  # fmt: skip
        result = read_json(file)
        try:
            name = str(result["model"])
            # A folder alone is a checkpoint, as `roboreward bench` takes it.
            full = f"checkpoint:{name}" if Path(name).is_dir() else name
            errors[full] = float(result["mae"])
        except (KeyError, TypeError, ValueError) as error:
            raise RunFolderError(
                f"{file} is not a result of `roboreward bench` ({error})."
            ) from error
    return errors
