"""Processes that share the episodes of a program."""

import multiprocessing
import signal
import threading
from multiprocessing.pool import Pool

import torch
from tqdm import tqdm

from roboreward_gym._cli import keep_freed_memory


def worker_pool(workers: int) -> Pool:
    """Processes that compute with one thread each; leaving the pool's `with` block ends them.

    Spawned, not forked: OpenGL contexts and torch's threads do not survive a fork. The processes
    inherit that Ctrl-C is not for them; they end with the pool, also in the middle of an episode.
    """
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    pool = multiprocessing.get_context("spawn").Pool(workers, prepare, (1,))
    signal.signal(signal.SIGINT, heard)
    return pool


def prepare(threads: int) -> None:
    """Make this process ready to compute; programs call it first, and so does each of their workers."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    # Its own lock is a semaphore of the system, and a worker that Ctrl-C ends would leave it behind.
    tqdm.set_lock(threading.RLock())
