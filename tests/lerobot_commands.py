"""LeRobot's own commands in a terminal of their own, in which a person types. One process for all: it takes long to load them."""

import json
import os
import pty
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 300.0
RUN = """
import json, sys
from importlib import import_module
modules = [import_module(f"lerobot.scripts.lerobot_{name}") for name, _ in json.loads(sys.argv[1])]
for module, (name, options) in zip(modules, json.loads(sys.argv[1])):
    sys.argv = [f"lerobot-{name}", *options]
    print(f"begin {name}", flush=True)
    module.main()
    print(f"end {name}", flush=True)
"""


def install(folder: Path) -> Path:
    """Do what `pip install` of our two distributions does, without building wheels."""
    for package in ("policies", "robots"):
        home = ROOT / package / "lerobot_plugin" / "distribution"
        project = tomllib.loads((home / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        name, version = project["name"], project["version"]
        about = folder / f"{name}-{version}.dist-info"
        about.mkdir(parents=True)
        about.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        shutil.copy(home / f"{name}.py", folder)
    return folder


def run_commands(
    commands: list[tuple[str, list[str]]], keys: list[tuple[str, str]], folder: Path
) -> tuple[int, str]:
    """Run commands one after the other; returns the exit status and what they printed.

    Args:
        commands: Name without `lerobot-`, and options.
        keys: Text that has to be printed since the last keys were typed, and the keys then.
        folder: For LeRobot's home and our distributions.
    """
    environment = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_LEROBOT_HOME": str(folder / "home"),
        "PYTHONPATH": str(install(folder / "site-packages")),
        "PYTHONUNBUFFERED": "1",
    }
    person, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        cwd=ROOT,
        env=environment,
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    os.close(terminal)
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    said, seen, waiting = "", 0, list(keys)
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        said += (process.stdout.read() or b"").decode(errors="replace")
        if waiting and (at := said.find(waiting[0][0], seen)) >= 0:
            seen = at + len(waiting[0][0])
            os.write(person, waiting.pop(0)[1].encode())
        time.sleep(0.05)
    process.kill()
    said += (process.stdout.read() or b"").decode(errors="replace")
    process.stdout.close()
    os.close(person)
    return process.wait(), said
