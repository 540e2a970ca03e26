"""The tasks that a small checkpoint was trained on, if its folder lists them: any other task draws a warning.

A model of billions of parameters knows more tasks than anybody could list, and its folder has no such file.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from roboreward_gym.errors import WeightsError

FILE = "trained_tasks.json"
"""File of a checkpoint: `{"scene": ["task", ...], ...}`."""

_log = logging.getLogger(__name__)
_warned: set[str] = set()
"""Names of the models that have warned in this process."""


class TrainedTasks:
    """Warns once per process and model when a task is not one of those that the model was trained on.

    Upper and lower case are the same here. The warning changes no score.

    Args:
        folder: Folder of the checkpoint.
        name: Name of the model, for the message.

    Raises:
        WeightsError: The file of the tasks is corrupt.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._name = name
        self._tasks = {task.casefold() for tasks in _read(folder).values() for task in tasks}

    def warn_about(self, task: str) -> None:
        """Log a warning if the model lists its tasks and this is not one of them."""
        if not self._tasks or task.casefold() in self._tasks or self._name in _warned:
            return
        _warned.add(self._name)
        _log.warning(
            "%s was not trained on the task %r: its scores of other tasks, scenes and robots than those of its "
            "training mean nothing. Use another reward model, for example roboreward-4b. It knows: %s.",
            self._name,
            task,
            "; ".join(sorted(self._tasks)),
        )


def _read(folder: Path) -> Mapping[str, Sequence[str]]:
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} is not JSON: {error}. Fetch the checkpoint again.") from error
