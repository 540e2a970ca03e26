"""Choosing how MuJoCo draws, before it is imported: on a screen, by EGL without one, or not at all.

Without OpenGL the arm is drawn by ray shading; `diagnose` then names what to install.
"""

import ctypes
import os
import subprocess
import sys
from dataclasses import dataclass

DEBIAN_PACKAGES = ("libegl1", "libegl-mesa0", "libgl1-mesa-dri")
"""The smallest set that renders on a bare Debian 12; it pulls in libgbm1 and LLVM (115 MB)."""

RENDERER_ERRORS = (AttributeError, ImportError, RuntimeError)
"""What creating a `mujoco.Renderer` raises without OpenGL; AttributeError as the class is not there."""

IMPORTED = "imported"
PROBE = f"""
import mujoco
print("{IMPORTED}", flush=True)
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light/></worldbody></mujoco>")
with mujoco.Renderer(model, 16, 16) as renderer:
    renderer.update_scene(mujoco.MjData(model))
    renderer.render()
"""


@dataclass(frozen=True)
class GLReport:
    """Whether MuJoCo can draw with OpenGL here.

    Attributes:
        works: A picture was drawn.
        backend: The value of `MUJOCO_GL` it was tried with.
        message: One line for people; without OpenGL it names what to install.
    """

    works: bool
    backend: str
    message: str


def choose_gl() -> str:
    """Set `MUJOCO_GL` if it is unset and there is no screen; returns its value.

    Must run before MuJoCo is imported, which reads the variable once. `egl` is not set blindly: without
    libEGL, importing MuJoCo with `egl` fails, physics included.
    """
    unset = not os.environ.get("MUJOCO_GL") and not os.environ.get("DISPLAY")
    if unset and sys.platform == "linux":
        os.environ["MUJOCO_GL"] = "egl" if _loads("libEGL.so.1") else "disable"
    return os.environ.get("MUJOCO_GL", "")


def diagnose(timeout_s: float = 60.0) -> GLReport:
    """Draw one picture in a process of its own, since a broken driver can take a process down.

    Args:
        timeout_s: How long the attempt may take, in [s].
    """
    backend = choose_gl()
    try:
        probe = subprocess.run(
            [sys.executable, "-c", PROBE],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return GLReport(
            works=False, backend=backend, message=advice(f"no picture within {timeout_s:g} s")
        )
    if probe.returncode == 0:
        message = f"MuJoCo draws with OpenGL (MUJOCO_GL={backend or 'unset'})."
        return GLReport(works=True, backend=backend, message=message)
    lines = probe.stderr.strip().splitlines()
    reason = lines[-1] if lines else f"exit {probe.returncode}"
    if IMPORTED not in probe.stdout:
        message = f"MuJoCo cannot be imported with MUJOCO_GL={backend} ({reason}). Unset MUJOCO_GL."
        return GLReport(works=False, backend=backend, message=message)
    return GLReport(works=False, backend=backend, message=advice(reason))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def advice(reason: str) -> str:
    """What to install when `reason` kept MuJoCo from drawing."""
    screen = os.environ.get("DISPLAY") and not os.environ.get("MUJOCO_GL")
    hint = " (and MUJOCO_GL=egl, as DISPLAY names a screen that does not work)" if screen else ""
    return (
        f"MuJoCo cannot draw with OpenGL here ({reason}). Pictures come from the slower ray shading "
        "instead. For OpenGL without a screen on Debian or Ubuntu: "
        f"apt-get install --no-install-recommends {' '.join(DEBIAN_PACKAGES)}{hint}"
    )


def main() -> None:
    """Write to stderr what is missing; nothing when drawing works."""
    report = diagnose()
    if not report.works:
        sys.stderr.write(report.message + "\n")
