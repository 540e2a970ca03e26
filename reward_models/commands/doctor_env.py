"""Look at an environment as a reward model would: record an episode, show it, and report what would go wrong.

No reward model is loaded. Needs Pillow for the picture and PyAV for the video; without them the findings are the same.
"""

import argparse
import inspect
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym

from reward_models.commands.env_episode import (
    ENVIRONMENT_ERRORS,
    check_ending,
    check_frames,
    check_repeated,
    check_rewards,
    play,
)
from reward_models.commands.findings import Finding
from roboreward_gym.errors import InvalidClip, InvalidSetting, RoboRewardError, install_advice
from roboreward_gym.frames import RENDER, RENDER_MODES, FrameSource, Source
from roboreward_gym.recording import read_fps
from roboreward_gym.tasks import find_task
from roboreward_gym.types import Clip, check_task
from roboreward_gym.wrapper import VLMRewardWrapper

UNKNOWN_FPS = 10.0
"""Steps per second that are assumed where the environment does not report them, so that the rest can be looked at."""
UNKNOWN_TASK = "look around"
"""Likewise."""
STEP_TIMES = ("dt", "control_dt", "step_dt")
"""Attributes by which simulators tell the time of a step in [s]."""
RATE_TOLERANCE = 0.05


@dataclass(frozen=True)
class EnvQuestion:
    """What to look at.

    Attributes:
        env: An id as `gym.make` takes it, with the module that registers it if need be: `gym_pusht:gym_pusht/PushT-v0`.
        options: Further arguments of `gym.make`.
        task: As of `VLMRewardWrapper`.
        frame_source: As of `VLMRewardWrapper`.
        fps: As of `VLMRewardWrapper`.
        steps: Most steps of the episode.
        seed: Of the reset and of the random actions.
        out: Folder for the video and the picture.
    """

    env: str
    options: dict[str, Any] = field(default_factory=dict)
    task: str | None = None
    frame_source: Source = RENDER
    fps: float | None = None
    steps: int = 300
    seed: int = 0
    out: Path = Path("doctor")


def add_env_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `--env`."""
    group = parser.add_argument_group("look at an environment instead")
    group.add_argument(
        "--env", help="id as gym.make takes it, such as gym_pusht:gym_pusht/PushT-v0"
    )
    group.add_argument(
        "--env-options", type=json.loads, default={}, help="further arguments of gym.make, as JSON"
    )
    group.add_argument(
        "--task", help="the task as text; by default an attribute of the environment"
    )
    group.add_argument(
        "--frame-source",
        nargs="+",
        default=[RENDER],
        help="render, a path such as render/0, an observation key, module:function; several are put side by side",
    )
    group.add_argument("--fps", type=float, help="steps per second; by default render_fps")
    group.add_argument("--steps", type=int, default=300, help="most steps of the episode")
    group.add_argument("--seed", type=int, default=0, help="seed of the reset and of the actions")
    group.add_argument(
        "--out", type=Path, default=Path("doctor"), help="folder for the picture and the video"
    )


def env_question(options: argparse.Namespace) -> EnvQuestion:
    """Read these arguments."""
    sources = options.frame_source
    return EnvQuestion(
        options.env,
        options.env_options,
        options.task,
        sources[0] if len(sources) == 1 else sources,
        options.fps,
        options.steps,
        options.seed,
        options.out,
    )


def check_env(question: EnvQuestion) -> Iterator[Finding]:
    """Make the environment, play one episode in it, and look at what came of it."""
    try:
        env = make_env(question)
    except ENVIRONMENT_ERRORS as error:
        found = f"cannot be made: {type(error).__name__}: {error}"
        yield Finding("environment", "problem", found, make_advice(question, error))
        return
    try:
        yield from check_made(env, question)
    finally:
        env.close()


def check_made(env: gym.Env[Any, Any], question: EnvQuestion) -> Iterator[Finding]:
    """Look at a made environment."""
    if isinstance(env, gym.vector.VectorEnv) or getattr(env.unwrapped, "num_envs", 1) != 1:
        advice = "Look at one environment of its kind; its wrapper is VLMRewardVectorWrapper."
        yield Finding("environment", "problem", "it is several environments in one", advice)
        return
    try:
        env.reset(seed=question.seed)  # MiniGrid has no mission before
    except ENVIRONMENT_ERRORS as error:
        found = f"its reset fails: {type(error).__name__}: {error}"
        yield Finding("environment", "problem", found, "env.reset(seed=0) must work.")
        return
    task, finding = read_task(env, question.task)
    yield finding
    fps, finding = read_rate(env, question.fps)
    yield finding
    if env.render_mode not in RENDER_MODES and FrameSource(question.frame_source).renders:
        modes = (env.metadata or {}).get("render_modes")
        advice = "Pass --frame-source: the key of an image in the observation, or module:function."
        yield Finding(
            "frames", "problem", f"it does not render images: its modes are {modes}", advice
        )
        return
    try:
        wrapping = {"task": task, "frame_source": question.frame_source, "fps": fps}
        played = play(env, question.steps, question.seed, wrapping)
    except (RoboRewardError, *ENVIRONMENT_ERRORS) as error:
        found = (
            str(error) if isinstance(error, RoboRewardError) else f"{type(error).__name__}: {error}"
        )
        yield Finding(
            "episode", "problem", found, "" if isinstance(error, RoboRewardError) else "Mend it."
        )
        return
    yield from check_ending(env, played, question.steps)
    yield from check_frames(played)
    yield from check_rewards(played.rewards)
    yield from check_repeated(env, played, question.seed)
    yield from write_pictures(played.clip, question)


def make_env(question: EnvQuestion) -> gym.Env[Any, Any]:
    """Make it, with rendering where it can; modules of the present folder can be named."""
    if "" not in sys.path:  # where a console script does not look, but `python -m` does
        sys.path.insert(0, "")
    options: dict[str, Any] = {"render_mode": "rgb_array", **question.options}
    try:
        return gym.make(question.env, **options)
    except TypeError as error:
        if "render_mode" in question.options or "render_mode" not in str(error):
            raise
        del options["render_mode"]
        return gym.make(question.env, **options)


def make_advice(question: EnvQuestion, error: Exception) -> str:
    """What to do about an environment that cannot be made."""
    if isinstance(error, (gym.error.UnregisteredEnv, ImportError)):
        return "Name the module that registers it before a colon: --env my_package:MyEnv-v0."
    return f"gym.make({question.env!r}, render_mode='rgb_array', **{question.options}) must work: see --env-options."


def read_task(env: gym.Env[Any, Any], given: str | None) -> tuple[str, Finding]:
    """The task, or another where there is none, and findings about it."""
    if given is not None:
        return given, Finding("task", "ok", repr(given))
    try:
        task = check_task(find_task(env.get_wrapper_attr))
    except AttributeError:
        advice = "Pass task='...' (here --task)."
        return UNKNOWN_TASK, Finding("task", "problem", "the environment does not tell it", advice)
    except InvalidClip as error:
        return UNKNOWN_TASK, Finding("task", "problem", str(error))
    if len(task.split()) < 2:
        advice = "Reward models read what is to be done: pass task='...' if this is only a name."
        return task, Finding("task", "warning", f"{task!r} is not a sentence", advice)
    return task, Finding("task", "ok", repr(task))


def read_rate(env: gym.Env[Any, Any], given: float | None) -> tuple[float, Finding]:
    """Steps per second in [Hz], or others where they are not known, and findings about them."""
    try:
        fps = read_fps(env, given)
    except InvalidSetting as error:
        return UNKNOWN_FPS, Finding("rate", "problem", str(error), "On the command line: --fps.")
    times = [getattr(env.unwrapped, name, None) for name in STEP_TIMES]
    step_s = next((time_s for time_s in times if isinstance(time_s, float) and time_s > 0), None)
    if given is None and step_s is not None and abs(step_s * fps - 1) > RATE_TOLERANCE:
        found = (
            f"render_fps says {fps:g} steps per second, the environment's time step {1 / step_s:g}"
        )
        advice = "If that is the time of one action, pass fps= (here --fps): models are told the time of each frame."
        return fps, Finding("rate", "warning", found, advice)
    return fps, Finding("rate", "ok", f"{fps:g} steps per second")


def write_pictures(clip: Clip, question: EnvQuestion) -> Iterator[Finding]:
    """Write the episode as a video and as one picture, as far as the libraries are there."""
    name = re.sub(r"[^\w.-]+", "_", question.env.rpartition(":")[2])
    picture, video = question.out / f"{name}.png", question.out / f"{name}.mp4"
    try:
        question.out.mkdir(parents=True, exist_ok=True)
        from reward_models.commands.contact_sheet import write_contact_sheet

        write_contact_sheet(picture, clip)
        yield Finding(
            "picture", "ok", str(picture), "Look at it: this is all that a reward model sees."
        )
        from reward_models.video.write import write_mp4

        write_mp4(video, clip.frames, clip.fps)
        yield Finding("video", "ok", str(video))
    except ModuleNotFoundError as error:
        yield Finding("picture", "note", f"{error.name} is not installed", install_advice("models"))
    except OSError as error:
        yield Finding("picture", "problem", f"cannot be written: {error}", "See --out.")


def example(question: EnvQuestion) -> str:
    """The lines that wrap this environment as it was looked at."""
    options = "".join(f", {name}={value!r}" for name, value in question.options.items())
    settings = [
        ("task", question.task),
        ("frame_source", question.frame_source),
        ("fps", question.fps),
    ]
    defaults = {
        name: p.default for name, p in inspect.signature(VLMRewardWrapper).parameters.items()
    }
    given = "".join(f", {n}={v!r}" for n, v in settings if v is not None and v != defaults[n])
    return (
        f"env = gym.make({question.env!r}, render_mode='rgb_array'{options})\n"
        f"env = VLMRewardWrapper(env, 'roboreward-8b'{given})\n"
    )
