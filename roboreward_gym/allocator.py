"""Keeps freed memory inside the process, which makes training on a CPU several times faster.

glibc returns every large block to the kernel as soon as a tensor is freed; the next tensor then pays
for fresh pages. On virtual machines these page faults cost more than the arithmetic (measured: 4.1 s
instead of 0.66 s a step). It lies here because this is the one package that all programs may import;
it is no part of the plugin.
"""

import ctypes
import sys

# Parameter numbers of mallopt(3).
_M_TRIM_THRESHOLD = -1
_M_TOP_PAD = -2
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory; call it once, early, in a program (not in a library).

    Returns:
        Whether it took effect: False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**26))
    accepted = [mallopt(name, value) for name, value in settings]
    return accepted == [1] * len(settings)
