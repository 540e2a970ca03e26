"""What happens in a simulated episode: scripted stretches one after another, or a policy; and the truth at every moment.

Besides what `reward_episodes` plays there are episodes about which a reward model that looks at the final state only is wrong: the
goal was true at the start and was given up, the task was done and then undone, it failed first and succeeded later, or it was
finished long before the end.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import gymnasium as gym
import numpy as np
import torch

from experiments.simulation.reward_episodes import HORIZON, RandomMotion, expert_style
from policies.dsrl.learner import load_learned
from policies.player import BaseNoise, play
from policies.policy import DiffusionPolicy
from robots.conventions import ACTION_DIM, CONTROL_HZ
from robots.scene import Scene
from robots.sim.experts import ScriptedExpert, Style
from robots.sim.mujoco_arm import MujocoArm
from robots.sim.tasks.drawer import OPPOSITE, DrawerScene
from robots.sim.tasks.toy import TARGETS, ToyScene
from robots.widowx import Observation, WidowXEnv, widowx

Behaviour = Literal[
    "expert", "noisy", "interrupted", "random", "start_satisfied", "there_and_back", "recovery", "run_on", "on_policy"
]  # fmt: skip
SHARES: Mapping[Behaviour, float] = {
    "expert": 0.14, "noisy": 0.18, "interrupted": 0.12, "random": 0.04,
    "start_satisfied": 0.16, "there_and_back": 0.14, "recovery": 0.12, "run_on": 0.10,
}  # fmt: skip
"""How often each scripted behaviour is played."""
RUN_ON_S = 24.0
GIVEN_UP_M = 0.05
"""A goal that was true at the start counts as given up from this distance [m] on."""
IDLE_NOISE = 0.03


class TruthfulScene(Scene, Protocol):
    """A simulated scene, which can tell the level of any two states that follow one another."""

    now: Any

    def level_between(self, task: str, start: Any, before: Any, now: Any) -> int:
        """Level of the state `now` after `before`, if the episode began with `start`."""
        ...

    def remaining_m(self, task: str, state: Any) -> float:
        """How far a state is from the goal, in [m]."""
        ...


@dataclass(frozen=True, eq=False)
class Played:
    """One episode.

    Attributes:
        behaviour: What was played.
        task: What it was about.
        qpos: `(T, nq)` float64 joint positions.
        levels: T levels by task: of every task that was undone at the start, or given up since.
        captions: T descriptions of the state.
        done_at_start: Tasks whose goal was true at the start.
    """

    behaviour: Behaviour
    task: str
    qpos: np.ndarray
    levels: Mapping[str, list[int]]
    captions: list[str]
    done_at_start: tuple[str, ...]


@dataclass(frozen=True)
class LearnedPolicy:
    """A policy on disk: the base policy, and the noise policy of its fine-tuning if there is one."""

    policy: Path
    noise_policy: Path | None = None


class Recorder:
    """Notes joint positions and state after each step."""

    def __init__(self, env: WidowXEnv) -> None:
        if not isinstance(env.arm, MujocoArm) or not isinstance(env.scene, ToyScene | DrawerScene):
            raise TypeError(
                "Only the simulation can be recorded here. Make the environment without a robot."
            )
        self.env, self.arm = env, env.arm
        self.scene: TruthfulScene = env.scene
        self.qpos: list[np.ndarray] = []
        self.states: list[Any] = []
        self.captions: list[str] = []
        self.note()

    def note(self) -> None:
        """Note the present."""
        self.qpos.append(self.arm.data.qpos.copy())
        self.states.append(self.scene.now)
        self.captions.append(self.scene.caption())

    def step(self, action: np.ndarray) -> None:
        """Act and note."""
        self.env.step(action)
        self.note()

    def played(self, behaviour: Behaviour, task: str) -> Played:
        """Give back what was noted, with the truth about every task."""
        first = self.states[0]
        done = tuple(
            t for t in self.env.tasks if self.scene.level_between(t, first, first, first) == 5
        )
        levels = {t: found for t in self.env.tasks if (found := self._levels(t)) is not None}
        return Played(behaviour, task, np.stack(self.qpos), levels, self.captions, done)

    def _levels(self, task: str) -> list[int] | None:
        """Levels of a task; None if its goal was true at the start and nobody gave it up."""
        before = [self.states[0], *self.states[:-1]]
        worst = self.states[0]
        if self.scene.askable(task):
            pairs = zip(before, self.states, strict=True)
            return [self.scene.level_between(task, worst, b, now) for b, now in pairs]
        levels = []
        for b, now in zip(before, self.states, strict=True):
            worst = max(worst, now, key=lambda s: self.scene.remaining_m(task, s))
            levels.append(self.scene.level_between(task, worst, b, now))
        return levels if self.scene.remaining_m(task, worst) >= GIVEN_UP_M else None


class Noted(gym.Wrapper[Observation, np.ndarray, Observation, np.ndarray]):
    """Shows a recorder every step that a policy takes."""

    recorder: Recorder

    def reset(self, **kwargs: Any) -> tuple[Observation, dict[str, Any]]:
        """Start a new record."""
        found = self.env.reset(**kwargs)
        self.recorder = Recorder(widowx(self.env))
        return found

    def step(self, action: np.ndarray) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        """Step and note."""
        found = self.env.step(action)
        self.recorder.note()
        return found


def play_script(env: WidowXEnv, behaviour: Behaviour, seed: int) -> Played:
    """Play a scripted behaviour about a random task of the scene."""
    rng = np.random.default_rng([seed, 2])
    tasks = env.tasks
    # Nothing is picked up at the start, and MuJoCo's soft contacts let a toy creep out of the fingers within 24 s.
    if behaviour in ("start_satisfied", "run_on"):
        tasks = tuple(t for t in tasks if not t.startswith("pick"))
    task = str(rng.choice(tasks))
    scene = env.scene
    env.reset(seed=seed, options={"task": _other(task) if behaviour == "start_satisfied" else task})
    if behaviour == "start_satisfied" and isinstance(scene, ToyScene):
        scene.place_on(task.split()[2], task.split()[-1])
    recorder = Recorder(env)
    for actor, most in _stretches(env, behaviour, task, rng):
        for _ in range(most):
            if getattr(actor, "finished", False):
                break
            recorder.step(actor.act())
    return recorder.played(behaviour, task)


def play_policy(env_id: str, learned: LearnedPolicy, look: str, seed: int) -> Played:
    """Play an episode of a policy, as in the experiments."""
    env, policy, noise = _policy_env(env_id, learned, look)
    generator = torch.Generator().manual_seed(seed)
    play(env, policy, noise, seed=seed, generator=generator)
    task = env.recorder.env.task
    return env.recorder.played("on_policy", task)


def policy_env(env_id: str, learned: LearnedPolicy, look: str) -> WidowXEnv:
    """The environment that `play_policy` acts in."""
    return widowx(_policy_env(env_id, learned, look)[0])


def _other(task: str) -> str:
    """A task of which the goal is to be given up for: the other target, the other way."""
    words = task.split()
    if words[0] in OPPOSITE:
        return " ".join([OPPOSITE[words[0]], *words[1:]])
    other = TARGETS[1 - TARGETS.index(words[-1])]
    return " ".join([*words[:-1], other])


class Idle:
    """Holds the pose and the gripper, with a little noise in x and y."""

    def __init__(self, env: WidowXEnv, rng: np.random.Generator) -> None:
        self._rng, self._noise = rng, float(rng.choice([0.0, IDLE_NOISE]))
        self._gripper = 1.0 if env.scene.caption().endswith("open") else -1.0

    def act(self) -> np.ndarray:
        """Action `(7,)`."""
        action = np.zeros(ACTION_DIM, np.float32)
        action[:2] = self._noise * self._rng.standard_normal(2)
        action[6] = self._gripper
        return action


class Rise:
    """Opens the gripper and goes up, away from what went wrong."""

    def __init__(self, env: WidowXEnv) -> None:
        self._env = env

    def act(self) -> np.ndarray:
        """Action `(7,)`."""
        up = float(self._env.target[2] < 0.15)
        return np.array([0.0, 0.0, 0.9 * up, 0.0, 0.0, 0.0, 1.0], np.float32)


def _stretches(
    env: WidowXEnv, behaviour: Behaviour, task: str, rng: np.random.Generator
) -> Iterator[tuple[ScriptedExpert | RandomMotion | Idle | Rise, int]]:
    """Who acts, and for how many steps at most; each plans from the state when its turn comes."""
    most = HORIZON["toy"]

    def expert(what: str = task, source: str = "expert", **more: Any) -> ScriptedExpert:
        return ScriptedExpert(env, what, rng, expert_style(source, rng), **more)

    if behaviour == "random":
        yield RandomMotion(rng), int(rng.integers(16, most))
    elif behaviour in ("expert", "noisy", "interrupted"):
        yield expert(source=behaviour), most
    elif behaviour == "start_satisfied":
        yield expert(_other(task)), most
        what_then = rng.choice(["back", "half_back", "nothing"], p=[0.6, 0.2, 0.2])
        if what_then != "nothing":
            yield expert(source="expert" if what_then == "back" else "interrupted"), most
    elif behaviour == "there_and_back":
        yield expert(), most
        yield expert(undo=True), most
    elif behaviour == "recovery":
        speed, stop = rng.uniform(0.7, 1.0), rng.uniform(0.4, 0.8)
        failing = Style(speed, rng.uniform(0.01, 0.03), 0.1, stop_after=stop, drop_probability=0.6)
        yield ScriptedExpert(env, task, rng, failing), most
        yield Rise(env), 4
        yield expert(), most
    elif behaviour == "run_on":
        yield expert(), most
        yield Idle(env, rng), round(RUN_ON_S * CONTROL_HZ)
    yield Idle(env, rng), int(rng.integers(2, 8))


@cache
def _policy_env(
    env_id: str, learned: LearnedPolicy, look: str
) -> tuple[Noted, DiffusionPolicy, Any]:
    policy = DiffusionPolicy.load(learned.policy)
    noise = load_learned(learned.noise_policy, policy) if learned.noise_policy else BaseNoise()
    return Noted(gym.make(env_id, look=look)), policy, noise
