"""Build our ROS messages without colcon: `python -m robots.ros.build`.

Into the environment that `rclpy` comes from when that is a Python environment of wheels (`make setup-ros`), or
into `build/ros` beside a ROS installation that the user has sourced. A package that is there already, in a
sourced workspace or from an earlier call, is used as it is and nothing is built.
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from roboreward_gym.errors import RoboRewardError
from robots.ros.definitions import MESSAGES, PACKAGES, differences

OVERLAY = Path("build") / "ros"
BUILD_HOST = re.compile(
    # The wheels export include folders of the container that built them.
    "/"
    r"opt/python/cp\d+-cp\d+/(?:(?P<python>include/python3\.\d+)"
    r"|lib/python3\.\d+/site-packages/numpy/_?core/include)"
)
SHOWN_LINES = 30


class BuildError(RoboRewardError, RuntimeError):
    """The messages cannot be built; names what to install, or shows the compiler's last lines."""


@dataclass(frozen=True)
class Tools:
    """Programs that a build needs."""

    cmake: str
    ninja: str


def share_folder(package: str) -> Path | None:
    """`share/<package>` of the first prefix that has it: what is sourced comes before the environment."""
    sourced = [p for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    for prefix in [*sourced, sys.prefix]:
        folder = Path(prefix) / "share" / package
        if (folder / "package.xml").is_file() and importlib.util.find_spec(package):
            return folder
    return None


def up_to_date(package: str) -> bool:
    """Whether the package is there with our fields.

    Raises:
        BuildError: A workspace of the user has the package with other fields.
    """
    folder = share_folder(package)
    if folder is None:
        return False
    different = differences(MESSAGES / package, folder)
    if not different:
        return True
    if ours(folder):
        return False
    raise BuildError(
        f"{folder} differs from {MESSAGES / package}: {', '.join(different)}. "
        "Take that workspace out of the environment, or bring it to the version of the robot's driver."
    )


def ours(folder: Path) -> bool:
    """Whether an earlier call of this program made a `share/<package>` folder."""
    return "roboreward-gym" in (folder / "package.xml").read_text(encoding="utf-8")


def is_wheel_environment() -> bool:
    """Whether `rclpy` is installed in this environment, not in a ROS installation beside it.

    Raises:
        BuildError: There is no `rclpy`.
    """
    spec = importlib.util.find_spec("rclpy")
    if spec is None or spec.origin is None:
        raise BuildError(
            f"{sys.executable} cannot import rclpy. Run `make setup-ros` and use "
            "its .venv-ros, or source an installed ROS (jazzy, kilted, humble) and use its Python."
        )
    return Path(spec.origin).is_relative_to(sys.prefix)


def find_tools() -> Tools:
    """CMake and Ninja from this environment or the PATH; a C++ compiler must be on the PATH.

    Raises:
        BuildError: Something is missing; the message names how to install it.
    """
    places = os.pathsep.join([str(Path(sys.prefix) / "bin"), os.environ.get("PATH", "")])
    cmake, ninja = shutil.which("cmake", path=places), shutil.which("ninja", path=places)
    compilers = [os.environ.get("CXX", "c++"), "g++", "clang++"]
    missing = [
        advice
        for found, advice in (
            (cmake, "cmake (pip install cmake)"),
            (ninja, "ninja (pip install ninja)"),
            (
                next(filter(None, map(shutil.which, compilers)), None),
                "a C++ compiler (apt-get install g++)",
            ),
        )
        if found is None
    ]
    if missing or cmake is None or ninja is None:
        raise BuildError(
            f"Building the ROS messages needs programs that are not here: {', '.join(missing)}. "
            "Install them and call again."
        )
    return Tools(cmake, ninja)


def with_local_includes(text: str, python_include: str, numpy_include: str) -> str:
    """A CMake file with the include folders of this machine in place of the build host's."""
    return BUILD_HOST.sub(lambda m: python_include if m["python"] else numpy_include, text)


def fix_include_folders(prefix: Path) -> int:
    """Put the include folders of this machine into every CMake file below `prefix/share`; returns how many needed it."""
    import numpy as np

    includes = (sysconfig.get_paths()["include"], np.get_include())
    count = 0
    for path in sorted(prefix.glob("share/*/cmake/*.cmake")):
        text = path.read_text(encoding="utf-8")
        new = with_local_includes(text, *includes)
        if new != text:
            path.write_text(new, encoding="utf-8")
            count += 1
    return count


def build(package: str, prefix: Path, tools: Tools, *, jobs: int) -> None:
    """Compile and install one package into `prefix`.

    Raises:
        BuildError: CMake or the compiler failed; the message holds its last lines.
    """
    prefixes = [str(prefix), os.environ.get("AMENT_PREFIX_PATH", ""), sys.prefix]
    path = os.pathsep.join(p for p in prefixes if p)
    environment = {**os.environ, "AMENT_PREFIX_PATH": path, "CMAKE_PREFIX_PATH": path}
    with tempfile.TemporaryDirectory(prefix="ros-build-") as folder:
        configure = [tools.cmake, "-S", str(MESSAGES / package), "-B", folder, "-G", "Ninja"]
        options = {
            "CMAKE_MAKE_PROGRAM": tools.ninja,
            "CMAKE_INSTALL_PREFIX": str(prefix),
            "CMAKE_BUILD_TYPE": "Release",
            "BUILD_TESTING": "OFF",
            "Python3_EXECUTABLE": sys.executable,
        }
        run(package, [*configure, *(f"-D{k}={v}" for k, v in options.items())], environment)
        run(package, [tools.ninja, "-C", folder, f"-j{jobs}", "install"], environment)


def run(package: str, command: list[str], environment: dict[str, str]) -> None:
    """Run one step of a build quietly."""
    result = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        last = "\n".join(result.stdout.splitlines()[-SHOWN_LINES:])
        raise BuildError(f"Building {package} failed in `{' '.join(command)}`:\n{last}")


def write_setup(prefix: Path) -> Path:
    """A script to source, for a prefix that no environment knows by itself."""
    python = prefix / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    lines = [
        f'export {name}="{folder}${{{name}:+:${name}}}"'
        for name, folder in (
            ("AMENT_PREFIX_PATH", prefix),
            ("LD_LIBRARY_PATH", prefix / "lib"),
            ("PYTHONPATH", python),
        )
    ]
    script = prefix / "setup.sh"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return script


def build_missing(prefix: Path | None, *, jobs: int = 2) -> list[str]:
    """Build what is not there yet; returns one line for people about each package."""
    wheels = is_wheel_environment()
    wanted = [package for package in PACKAGES if not up_to_date(package)]
    lines = [f"{p}: already in {share_folder(p)}" for p in PACKAGES if p not in wanted]
    if not wanted:
        return lines
    target = (prefix or (Path(sys.prefix) if wheels else OVERLAY)).resolve()
    for package in wanted:
        if differences(MESSAGES / package, target / "share" / package):
            tools = find_tools()
            if wheels:
                fix_include_folders(Path(sys.prefix))
            build(package, target, tools, jobs=jobs)
            lines.append(f"{package}: built into {target}")
        else:
            lines.append(f"{package}: already in {target}, which is not sourced")
    if target != Path(sys.prefix).resolve():
        lines.append(f"Now: source {write_setup(target)}")
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Build what is missing; 1 and a message when that is not possible."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--prefix", type=Path, help="install there instead")
    parser.add_argument("--jobs", type=int, default=2, help="compilers at a time (default 2)")
    options = parser.parse_args(arguments)
    try:
        lines = build_missing(options.prefix, jobs=options.jobs)
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
