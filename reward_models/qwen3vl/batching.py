"""Work in batches of equal shapes: side by side on the free cores of a CPU, and in halves where the memory does not suffice."""

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from roboreward_gym.errors import RewardModelFailure

Item = TypeVar("Item")
Result = TypeVar("Result")
Shape = tuple[int, ...]


def in_batches(
    work: Callable[[Sequence[Item]], list[Result]],
    items: Sequence[Item],
    shapes: Sequence[Shape],
    size: int,
    device: torch.device,
) -> list[Result]:
    """Work on all items; the results come in their order.

    Args:
        work: Takes a batch of equal shapes, returns a result for each.
        items: What to work on.
        shapes: Frames, height, width and channels of each.
        size: Most items of a batch.
        device: Where the work is done.

    Raises:
        RewardModelFailure: The memory does not suffice for a single item.
    """
    # Equal shapes go together: one attention call for all frames, and no wasted padding.
    groups: dict[Shape, list[int]] = defaultdict(list)
    for i, shape in enumerate(shapes):
        groups[shape].append(i)
    batches = [g[i : i + size] for g in groups.values() for i in range(0, len(g), size)]

    def do(batch: Sequence[int]) -> list[Result]:
        return within_memory(work, [items[i] for i in batch], shapes[batch[0]], device)

    workers = min(len(batches), free_cores()) if device.type == "cpu" else 1
    if workers <= 1:
        found = [do(batch) for batch in batches]
    else:
        with ThreadPoolExecutor(workers, "roboreward") as pool:
            found = list(pool.map(do, batches))
    results = {
        i: one for pair in zip(batches, found, strict=True) for i, one in zip(*pair, strict=True)
    }
    return [results[i] for i in range(len(items))]


def within_memory(
    work: Callable[[Sequence[Item]], list[Result]],
    batch: Sequence[Item],
    shape: Shape,
    device: torch.device,
) -> list[Result]:
    """Work on a batch, in halves if it does not fit: the batch size changes no score."""
    try:
        return work(batch)
    except (torch.OutOfMemoryError, MemoryError) as error:
        if len(batch) == 1:
            raise RewardModelFailure(
                f"The memory of {device} does not suffice for one clip of {'x'.join(map(str, shape))}: {error}. "
                "Free memory, or load the model with quantize=int8 or on another device."
            ) from error
    if device.type == "cuda":
        torch.cuda.empty_cache()
    half = len(batch) // 2
    parts = (batch[:half], batch[half:])
    return [one for part in parts for one in within_memory(work, part, shape, device)]


def free_cores() -> int:
    """How many threads may compute, if each takes as many cores as torch is told to use."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, cores // torch.get_num_threads())
