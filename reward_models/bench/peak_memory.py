"""The most memory that this process has taken so far."""

import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
"""Linux tells the peak of this program here. `getrusage` would not do: it begins with the peak of whoever started it."""


def main_memory_mb() -> float | None:
    """Most main memory in MiB; Windows does not tell."""
    if STATUS.is_file():
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        peak = next((line for line in lines if line.startswith("VmHWM:")), None)
        return None if peak is None else round(int(peak.split()[1]) / 2**10, 1)
    if sys.platform == "win32":
        return None
    import resource

    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes on macOS, kibibytes elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def gpu_memory_mb() -> float | None:
    """Most GPU memory that torch took in MiB, if a model brought torch and there is a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return None
    return round(torch.cuda.max_memory_allocated() / 2**20, 1)
