"""Importing a package stays light; only the module that needs a heavy library loads it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("roboreward_gym", "reward_models", "robots", "policies", "experiments")
HEAVY = ("torch", "transformers", "diffusers", "mujoco", "rclpy", "cv2", "av", "matplotlib")


def heavy_after(code: str) -> set[str]:
    """Which heavy libraries a fresh interpreter holds after running `code` in the checkout."""
    report = f"\nimport json, sys\nprint(json.dumps([n for n in {HEAVY} if n in sys.modules]))"
    result = subprocess.run(
        [sys.executable, "-c", code + report], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout.splitlines()[-1]))


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    assert heavy_after(f"import {package}") == set()


def test_resolving_the_environment_ids_loads_nothing_heavy() -> None:
    code = "import gymnasium, robots; gymnasium.spec('WidowXToyOnTowel-v0')"
    assert heavy_after(code) == set()


def test_entry_point_modules_import_nothing_heavy() -> None:
    code = "from reward_models.nano import load_nano\nimport reward_models.qwen3vl.published, reward_models.commands.doctor"
    assert heavy_after(code) == set()


def test_a_heavy_import_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").touch()
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import cv2"
    assert heavy_after(code) == {"cv2"}


def test_the_plugin_imports_without_anything_but_numpy_and_gymnasium() -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({HEAVY})); import roboreward_gym"
    code += f"; [sys.modules.pop(n) for n in {HEAVY}]"
    assert heavy_after(code) == set()
