"""One thread a worker, no network, OpenGL without a screen: set before anything heavy is imported."""

import importlib.util
import os
import random
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from robots.gl import choose_gl

# Two workers of two threads each on two cores spend their time on waiting for one another.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
choose_gl()

ROS_MODULES = ("rclpy", "interbotix_xs_msgs", "roboreward_sim_msgs")


@pytest.fixture(autouse=True)
def _same_start() -> Iterator[None]:
    """Every test starts from the same global seeds and threads of torch, whatever ran before it in its worker."""
    random.seed(0)
    np.random.seed(0)  # noqa: TID251 - libraries that draw from the global state start from it too
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread, so that results are bit-exact the same everywhere."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pytest_configure() -> None:
    """Fail where ROS 2 is expected and missing: a skipped test would look like a passed one."""
    if os.environ.get("ROBOREWARD_EXPECT_ROS"):
        missing = [name for name in ROS_MODULES if importlib.util.find_spec(name) is None]
        if missing:
            raise pytest.UsageError(f"These tests need {', '.join(missing)}. Run: make setup-ros")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where there is no CUDA device."""
    marked = [item for item in items if "gpu" in item.keywords]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
