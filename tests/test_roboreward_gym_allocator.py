import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from roboreward_gym import allocator

MIB = 2**20
# Without the package around it, so that no other library has a say.
PROGRAM = f"""
import resource, runpy, sys
keep = runpy.run_path(sys.argv[1])["keep_freed_memory"]
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
print(keep() if sys.argv[2] == "keep" else False)
before = resident()
block = bytearray(64 * {MIB})
del block
print((resident() - before) // {MIB})
"""
glibc = pytest.mark.skipif(
    sys.platform != "linux" or platform.libc_ver()[0] != "glibc", reason="needs glibc on Linux"
)


def after_freeing(mode: str) -> tuple[str, int]:
    """What `keep_freed_memory` returned, and how much of 64 freed MiB a fresh process still holds."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    command = [sys.executable, "-c", PROGRAM, allocator.__file__, mode]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    answer, held = result.stdout.split()
    return answer, int(held)


@glibc
def test_freed_memory_stays_in_the_process() -> None:
    answer, held = after_freeing("keep")
    assert answer == "True"
    assert held >= 60


@glibc
def test_freed_memory_goes_back_to_the_kernel_by_default() -> None:
    assert after_freeing("default")[1] <= 4


def test_nothing_is_done_where_there_is_no_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator.keep_freed_memory() is False


def test_it_is_no_part_of_the_plugin() -> None:
    import roboreward_gym

    assert "keep_freed_memory" not in vars(roboreward_gym)
    assert "allocator" not in (Path(roboreward_gym.__file__).read_text())
