"""`roboreward doctor --env`: what it finds in environments that somebody else wrote."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from reward_models.commands.doctor import main
from reward_models.commands.env_episode import resets_itself
from reward_models.commands.findings import Finding

ID = "Doctored-v0"


class Patient(gym.Env[np.ndarray, int]):
    """A dot that moves to the right; the arguments make it ill."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012
    observation_space = gym.spaces.Box(0, 1_000, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(
        self,
        render_mode: str | None = None,
        *,
        task: Any = "move the dot to the right",
        side: int = 96,
        length: int = 1_000,
        black: bool = False,
        reward: float = 0.0,
        fps: float | None = 10,
        dt: float | None = None,
        cameras: int = 1,
        moves_by_rendering: bool = False,
        drifts: bool = False,
        resets_itself: bool = False,
        fails: str = "",
        num_envs: int = 1,
    ) -> None:
        if num_envs > 1:
            self.num_envs = num_envs
        self.render_mode = render_mode
        self.side, self.length, self.reward, self.cameras = side, length, reward, cameras
        self.black, self.moves_by_rendering, self.drifts = black, moves_by_rendering, drifts
        self.resets = 0
        self.resets_itself, self.fails = resets_itself, fails
        self.metadata = {"render_modes": ["rgb_array"]} | (
            {} if fps is None else {"render_fps": fps}
        )
        if task is not None:
            self.task = task
        if dt is not None:
            self.dt = dt

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        if self.fails == "reset" or (self.fails == "later" and self.resets == 2):
            raise RuntimeError("the camera is unplugged")
        self.resets += 1
        self.place = float(self.resets) if self.drifts else 0.0
        self.steps = 0
        return self._observe(), {}

    def step(self, action: int) -> Any:
        self.place += 1
        self.steps += 1
        ended = self.steps >= self.length
        if ended and self.resets_itself:
            self.place = 0.0
        return self._observe(), self.reward, ended, False, {}

    def render(self) -> Any:
        frame = np.zeros((self.side, self.side, 3), np.uint8)
        if not self.black:
            frame[:, int(self.place) % self.side] = 200
        if self.moves_by_rendering:
            self.place += 0.25
        return frame if self.cameras == 1 else [frame] * self.cameras

    def _observe(self) -> np.ndarray:
        return np.array([self.place], np.float32)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    gym.register(ID, Patient, max_episode_steps=8, disable_env_checker=True, order_enforce=False)
    gym.register("NoLimit-v0", Patient, disable_env_checker=True)
    yield
    del gym.registry[ID], gym.registry["NoLimit-v0"]


def look(
    capsys: pytest.CaptureFixture[str], folder: Path, *argv: str, env: str = ID, **options: Any
) -> tuple[int, dict[str, Finding]]:
    """Exit status and findings about an environment with these options."""
    arguments = ["--env", env, "--env-options", json.dumps(options), "--out", str(folder), *argv]
    status = main(["--json", *arguments])
    report = json.loads(capsys.readouterr().out)
    return status, {found["check"]: Finding(**found) for found in report["findings"]}


def test_a_healthy_environment_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--env", ID, "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "ok  task: 'move the dot to the right'" in text
    assert "ok  ending: after 8 steps by its time limit: 0.9 s" in text
    assert "ok  seed: the same seed gives the same episode, recorded or not" in text
    assert text.endswith(
        f"All well.\n\nenv = gym.make('{ID}', render_mode='rgb_array')\n"
        "env = VLMRewardWrapper(env, 'roboreward-8b')\n"
    )
    with Image.open(tmp_path / f"{ID}.png") as picture:
        assert picture.size == (960, 3 * 260)
    assert (tmp_path / f"{ID}.mp4").stat().st_size > 500


@pytest.mark.parametrize(
    ("options", "check", "status", "found"),
    [
        ({"task": None}, "task", "problem", "does not tell it"),
        ({"task": "dot"}, "task", "warning", "not a sentence"),
        ({"task": 3}, "task", "problem", "of type int"),
        ({"fps": None}, "rate", "problem", "not known"),
        ({"dt": 0.01}, "rate", "warning", "time step 100"),
        ({"black": True}, "frames", "problem", "show nothing"),
        ({"side": 7}, "frame size", "warning", "7x7"),
        ({"side": 63}, "frame size", "warning", "63x63"),
        ({"side": 64}, "frame size", "ok", "64x64"),
        ({"side": 1_100}, "frame size", "note", "1100x1100"),
        ({"reward": float("nan")}, "rewards", "note", "not finite in 8 steps"),
        ({"length": 1}, "ending", "warning", "first step"),
        ({"length": 5, "resets_itself": True}, "frames", "warning", "first one again"),
        ({"moves_by_rendering": True}, "seed", "warning", "ends otherwise"),
        ({"drifts": True}, "seed", "note", "another episode"),
        ({"cameras": 2}, "episode", "problem", "render/0"),
        ({"fails": "reset"}, "environment", "problem", "camera is unplugged"),
        ({"fails": "later"}, "seed", "warning", "a second episode fails: RuntimeError: the camera"),
        ({"num_envs": 2}, "environment", "problem", "several environments in one"),
        ({"no_such_option": 1}, "environment", "problem", "no_such_option"),
    ],
)
def test_what_would_go_wrong_is_said(
    options: dict[str, Any],
    check: str,
    status: str,
    found: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, findings = look(capsys, tmp_path, **options)
    assert findings[check].status == status
    assert found in findings[check].found
    assert code == (status == "problem")
    excused = status == "ok" or check == "episode" or "Pass task=" in findings[check].found
    assert findings[check].advice or excused


def test_a_missing_time_limit_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, findings = look(capsys, tmp_path, "--steps", "5", env="NoLimit-v0")
    assert findings["ending"].status == "problem"
    assert "max_episode_steps" in findings["ending"].advice
    _, findings = look(capsys, tmp_path, "--steps", "5")
    assert findings["ending"].found == "no end within 5 steps; the time limit is 8"


def test_sources_task_and_rate_can_be_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--task", "push it", "--fps", "4", "--frame-source", "render/0", "render/1")
    code, findings = look(capsys, tmp_path, *given, cameras=2, task=None, fps=None)
    assert code == 0
    assert findings["task"].found == "'push it'"
    assert findings["frame size"].found == "192x96 pixels"


def test_a_given_rate_is_not_doubted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, findings = look(capsys, tmp_path, "--fps", "4", dt=0.01)
    assert findings["rate"].status == "ok"


def test_the_lines_to_copy_hold_what_was_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--env", ID, "--task", "push it", "--fps", "4", "--out", str(tmp_path)])
    wrapping = "env = VLMRewardWrapper(env, 'roboreward-8b', task='push it', fps=4.0)\n"
    assert capsys.readouterr().out.endswith(wrapping)


@pytest.mark.parametrize("length", [0, 8])
def test_an_environment_is_closed_whatever_is_found(
    length: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = []
    monkeypatch.setattr(Patient, "close", lambda env: closed.append(env))
    look(capsys, tmp_path, length=length)
    assert len(closed) == 1


def test_a_folder_that_cannot_be_made_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").touch()
    code, findings = look(capsys, tmp_path / "taken")
    assert code == 1
    assert "cannot be written" in findings["picture"].found


@pytest.mark.parametrize(("places", "resets"), [((0, 1, 0), True), ((0, 1, 0, 0), False)])
def test_only_the_very_last_frame_tells_of_a_reset(places: tuple[int, ...], resets: bool) -> None:  # noqa: FBT001
    assert resets_itself(np.array(places, np.uint8)[:, None, None, None]) is resets


def test_an_environment_that_takes_no_render_mode_is_made_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gym.register("NoMode-v0", lambda length=8: Patient(length=length), disable_env_checker=True)
    _, findings = look(capsys, tmp_path, env="NoMode-v0")
    del gym.registry["NoMode-v0"]
    assert "does not render images" in findings["frames"].found


def test_an_environment_that_does_not_render_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, findings = look(capsys, tmp_path, render_mode=None)
    assert "does not render images" in findings["frames"].found
    assert "--frame-source" in findings["frames"].advice


def test_an_unknown_environment_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, findings = look(capsys, tmp_path, env="NoSuchThing-v0")
    assert code == 1
    assert "my_package:MyEnv-v0" in findings["environment"].advice
