import signal
import threading

import pytest
import torch
from tqdm import auto

from experiments import workers
from experiments.workers import prepare, worker_pool


@pytest.mark.slow
def test_workers_use_one_thread_and_leave_ctrl_c_to_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    # A shell starts background programs with Ctrl-C ignored; then there would be nothing to see.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with worker_pool(1) as pool:
            assert pool.apply(torch.get_num_threads) == 1
            assert pool.apply(signal.getsignal, (signal.SIGINT,)) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_prepared_process_keeps_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(workers, "keep_freed_memory", lambda: calls.append("memory"))
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    prepare(threads=2)
    assert calls == ["memory", 2]


def test_a_worker_that_is_stopped_leaves_no_semaphore_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    for bar in auto.tqdm.__mro__:  # each keeps the lock that it was asked for first
        if "_lock" in vars(bar):
            monkeypatch.delattr(bar, "_lock")
    prepare(threads=1)
    assert isinstance(auto.tqdm.get_lock(), type(threading.RLock()))
