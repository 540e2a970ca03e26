"""The task: text that is given, or an attribute of the environment."""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import gymnasium as gym

from roboreward_gym.errors import InvalidSetting
from roboreward_gym.specs import FUNCTION_NAME, is_function_name, load_function
from roboreward_gym.types import check_task

logger = logging.getLogger(__name__)

TaskFunction = Callable[[gym.Env[Any, Any]], str]

TasksFunction = Callable[[gym.vector.VectorEnv], Sequence[str]]
"""Takes the vector environment, returns the present task of each of its environments."""

TASK_ATTRIBUTES = ("task", "mission", "instruction", "task_description")
"""Attributes in which environments keep their task: LeRobot's and ours, MiniGrid's and BabyAI's, others'."""


def find_task(read: Callable[[str], Any], names: Sequence[str] = TASK_ATTRIBUTES) -> Any:
    """Return the first of these attributes that there is, by a function that reads one.

    Raises:
        AttributeError: There is none.
    """
    for name in names:
        with suppress(AttributeError):
            return read(name)
    raise AttributeError(f"no attribute {' or '.join(names)}")


def check_given_task(task: object) -> Any:
    """Return the task, the function that a name stands for, or None, or raise `InvalidClip`."""
    if isinstance(task, str) and is_function_name(task):
        return load_function(task)
    if isinstance(task, str) and FUNCTION_NAME.fullmatch(task):
        logger.warning(
            "The task %r is taken as text: there is no module %r. Correct it if a function is meant.",
            task,
            task.partition(":")[0],
        )
    return task if task is None or callable(task) else check_task(task)


def announce_task(task: str) -> None:
    """Say which task was taken from an environment's attribute, and if it is hardly one."""
    logger.info("The task is %r, an attribute of the environment.", task)
    if len(task.split()) < 2:
        logger.warning(
            "The task %r, an attribute of the environment, is not a sentence. Reward models "
            "read what the robot was told to do: pass task='...' if this is only a name.",
            task,
        )


def read_task(env: gym.Env[Any, Any], given: str | TaskFunction | None) -> str:
    """Return the task of the present episode.

    Raises:
        InvalidSetting: None was given and the environment has none.
        InvalidClip: It is not text.
    """
    if isinstance(given, str):
        return given
    if given is not None:
        return check_task(given(env))
    try:
        return check_task(find_task(env.get_wrapper_attr))
    except AttributeError as error:
        raise InvalidSetting(
            f"The environment does not report its task: it has {error}. Pass task= the task as "
            "text, or a function of the environment."
        ) from error


def check_given_tasks(task: Any, num_envs: int) -> Any:
    """A function, or a list with a task for each environment, or None."""
    given = check_given_task(task) if isinstance(task, str) or task is None else task
    return given if given is None or callable(given) else check_tasks(given, num_envs)


def check_tasks(tasks: str | Sequence[str], num_envs: int) -> list[str]:
    """Return a task for each environment, or raise `InvalidSetting` or `InvalidClip`."""
    tasks = [tasks] * num_envs if isinstance(tasks, str) else list(tasks)
    if len(tasks) != num_envs:
        raise InvalidSetting(
            f"There are {len(tasks)} tasks for {num_envs} environments. Pass one each."
        )
    return [check_task(task) for task in tasks]


def read_tasks(envs: gym.vector.VectorEnv, *, captured: bool) -> list[str]:
    """Return the tasks that the environments of a vector report.

    Args:
        envs: The vector environment.
        captured: Whether each has a `FrameCapture`.

    Raises:
        InvalidSetting: They report none.
    """
    vector = envs.unwrapped
    try:
        if captured:
            tasks = vector.call("read_task")  # ty: ignore[missing-attribute]
        else:
            # A process that has no such attribute ends: another name cannot be tried.
            one_try = isinstance(vector, gym.vector.AsyncVectorEnv)
            tasks = find_task(vector.get_attr, TASK_ATTRIBUTES[: 1 if one_try else None])  # ty: ignore[missing-attribute]
    except AttributeError as error:
        raise InvalidSetting(
            "The environments do not report their task. Pass task= the task as text, one for each "
            "environment, or a function of the vector environment."
        ) from error
    return check_tasks(tasks, envs.num_envs)
