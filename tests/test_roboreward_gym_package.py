import inspect
import subprocess
import sys
from pathlib import Path

import roboreward_gym

ROOT = Path(__file__).parent.parent
HEAVY = "torch transformers mujoco cv2 rclpy diffusers matplotlib reward_models robots policies"


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that are loaded after a statement in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_import_needs_numpy_and_gymnasium_only() -> None:
    loaded = loaded_by("import roboreward_gym")
    assert {"numpy", "gymnasium", "roboreward_gym"} <= loaded
    assert not loaded & set(HEAVY.split())


def test_the_import_check_can_fail() -> None:
    assert "robots" in loaded_by("sys = __import__('sys'); sys.modules['robots'] = sys")


def test_every_public_name_says_what_it_is_for() -> None:
    public = {
        name: value
        for name, value in vars(roboreward_gym).items()
        if type(value) is type or inspect.isfunction(value)
    }
    assert {"Clip", "Episode", "VLMRewardWrapper", "load_reward_model"} < set(public)
    assert [name for name, value in public.items() if not value.__doc__] == []


def test_every_error_is_a_roboreward_error() -> None:
    errors = [value for value in vars(roboreward_gym).values() if isinstance(value, type)]
    errors = [error for error in errors if issubclass(error, Exception)]
    assert len(errors) >= 10
    assert all(issubclass(error, roboreward_gym.RoboRewardError) for error in errors)
