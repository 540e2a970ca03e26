"""The same work on a Ray cluster, by Ray Data.

The driver alone writes output, as a single process does; a worker that is lost is replaced by Ray, and its items are done again.
"""

import logging
import os
import socket
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from reward_models.scale.worker import Item, Job, LazyWorker, Result
from roboreward_gym.errors import InvalidSetting, RoboRewardError, install_advice

# Read when Ray is imported: nothing is reported to anybody, and no line is printed about the progress of blocks.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

try:
    import ray
    import ray.data
except ModuleNotFoundError as error:
    raise InvalidSetting(
        f"--ray needs Ray, which is not installed. {install_advice('scale')}"
    ) from error


CONNECT_TIMEOUT_S = 10.0
"""Longest time for a cluster to take a connection, in [s]."""


@dataclass(frozen=True)
class Box:
    """Something that Ray Data takes as it is: Arrow would turn bare numbers and texts into its own types."""

    content: Any


class Actor:
    """A worker on the cluster, one per process.

    Args:
        job: Makes the worker.
    """

    def __init__(self, job: Job[Any, Any]) -> None:
        self._work = LazyWorker(job)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Work on the items of a batch."""
        results = np.empty(len(batch["item"]), object)
        for number, box in enumerate(batch["item"]):
            try:
                results[number] = Box(self._work(box.content))
            except RoboRewardError as error:  # raised on the driver, in place of its result
                results[number] = Box(error)
        return {"result": results}


def map_on_ray(
    job: Job[Item, Result],
    items: Iterable[Item],
    address: str,
    workers: int,
    gpus_per_worker: float,
) -> Generator[Callable[[], Result]]:
    """Work on a cluster; results come in the order of the items, as soon as all before them are there.

    Args:
        job: Makes a worker.
        items: What to work on; all are sent to the cluster at the beginning.
        address: Address of the cluster, `auto`, or `local` for one that lives as long as this call.
        workers: Actors.
        gpus_per_worker: GPUs of each, whole or a part of one.

    Raises:
        InvalidSetting: No cluster answers at the address.
    """
    rows = [{"item": Box(item)} for item in items]
    if not rows:
        return
    own = not ray.is_initialized()
    if own:
        _connect(address, workers)
    try:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        # A block per item: a result leaves the cluster when its item is done.
        results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Actor,
            fn_constructor_args=(job,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_cpus=1,
            num_gpus=gpus_per_worker,
        )
        for row in results.iter_rows():
            yield partial(_result, row["result"].content)
    finally:
        if own:
            ray.shutdown()


def _connect(address: str, workers: int) -> None:
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address == "local":
            ray.init(address="local", num_cpus=workers + 1, include_dashboard=False, **quiet)
        else:
            host, colon, port = address.removeprefix("ray://").rpartition(":")
            if colon:  # Ray itself would try for minutes
                socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
            ray.init(address=address, **quiet)
    except (OSError, ValueError) as error:
        raise InvalidSetting(
            f"No Ray cluster answers at {address!r}: {error}. Start one with `ray start --head`, or pass --ray local."
        ) from error


def _result(found: Any) -> Any:
    if isinstance(found, RoboRewardError):
        raise found
    return found
