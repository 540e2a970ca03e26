"""One episode of SimReward: what is played and how it is shown, from its seed; its videos, rows and notes."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from experiments.simulation import other_envs
from experiments.simulation.behaviours import (
    SHARES,
    Behaviour,
    LearnedPolicy,
    Played,
    play_policy,
    play_script,
    policy_env,
)
from experiments.simulation.demonstrations import ENV_IDS, SceneName
from experiments.simulation.picture_shifts import PICTURE_SHIFTS, PictureShift, changed
from experiments.simulation.published_data import OBJECTS
from experiments.simulation.reward_data import KEPT
from experiments.simulation.reward_episodes import RewardDataConfig, env_and_arm
from experiments.simulation.wordings import TASKS, held_out, seen
from reward_models.data import truth
from reward_models.data.example import Example, Frames, Kind, Video
from reward_models.data.published_writer import FileNames, copy, row_of, sha256, stem_of
from reward_models.data.simulator import LICENCE, Note
from reward_models.data.video_file import VideoFormat, cut, write_video
from robots.conventions import CONTROL_HZ
from robots.scene import Split
from robots.sim.mujoco_arm import MujocoArm
from robots.sim.tasks.shifts import LOOK_SHIFTS, LookShift, Shifted
from robots.widowx import WidowXEnv

SINGLE, SEVERAL = 0.45, 0.15
"""Shares of recordings with one shift and with two to four; the others look as in training."""
CUT = 0.4
"""How often a recording is also shown cut short."""
SHORTEST = 8
OTHER = "other_envs"


@dataclass(frozen=True)
class EpisodePlan:
    """All that an episode follows from."""

    folder: Path
    split: Literal["train", "val", "test"]
    seed: int
    policies: tuple[LearnedPolicy | None, LearnedPolicy | None] = (None, None)
    on_policy: float = 0.2
    other_envs: float = 0.04
    counterfactuals: int = 2
    shifted: tuple[float, float] = (SINGLE, SEVERAL)
    video: VideoFormat = VideoFormat(256, 192, 0)  # noqa: RUF009 - frozen

    @property
    def look(self) -> Split:
        """Which part of each look's range is drawn from."""
        return "test" if self.split == "test" else "train"


@dataclass(frozen=True)
class Written:
    """What an episode adds: rows of `metadata.jsonl` and of `simulator.jsonl`, the hash of each video, a line of `truth.jsonl`."""

    seed: int
    rows: list[dict[str, Any]]
    notes: list[dict[str, Any]]
    videos: list[str]
    truth: dict[str, Any] | None


@dataclass(frozen=True, eq=False)
class Recording:
    """What an episode looks like, and what is asked about it."""

    subset: str
    episode: str
    frames: Frames
    shifts: tuple[str, ...]
    behaviour: str
    played: Played | None = None


@dataclass(frozen=True)
class Question:
    """A task about a recording: its words, what they mean, and the level that the recording reached."""

    task: str
    meaning: str
    wording: Literal["canonical", "seen", "held_out"]
    reward: int | None
    kind: Kind
    frames: int
    done_at_start: bool = False


def write_episode(plan: EpisodePlan) -> Written:
    """Play, show and label one episode; its videos are written."""
    rng = np.random.default_rng([plan.seed, 3])
    recording = record(plan, rng)
    questions = list(ask(plan, recording, rng))
    return _write(plan, recording, questions)


def record(plan: EpisodePlan, rng: np.random.Generator) -> Recording:
    """Play the episode of a plan and render it."""
    if rng.random() < plan.other_envs:
        name, frames = other_envs.record(plan.split, rng)
        return Recording(OTHER, f"{name}-{plan.split}-{plan.seed}", frames, (), OTHER)
    scene, shifts, played, env = play(plan, rng)
    pictures = np.stack([picture for picture, _ in render(plan, played, shifts, env)])
    episode = f"{scene}-{plan.split}-{plan.seed}"
    frames = Frames(pictures, CONTROL_HZ)
    return Recording(f"sim_{scene}", episode, frames, shifts, played.behaviour, played)


def play(
    plan: EpisodePlan, rng: np.random.Generator
) -> tuple[SceneName, tuple[LookShift | PictureShift, ...], Played, WidowXEnv]:
    """Play the episode of a plan that is of no other environment: its scene, its shifts, what happened, and where."""
    scene = str(rng.choice(list(ENV_IDS)))
    shifts = draw_shifts(rng, plan.shifted)
    return scene, shifts, *_play(plan, scene, rng)


def render(
    plan: EpisodePlan,
    played: Played,
    shifts: tuple[LookShift | PictureShift, ...],
    env: WidowXEnv,
    at: np.ndarray | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Picture `(H, W, 3)` and landmarks `(K, 4)` at some moments of an episode that was just played, or at all.

    Once after the episode: the colours that the reset drew are gone then. Only the noise of a sensor, which differs
    from frame to frame, depends on which moments are rendered.
    """
    arm, rng = _arm(env), np.random.default_rng([plan.seed, 4])
    _shifted(arm).lay_on(tuple(s for s in LOOK_SHIFTS if s in shifts), rng, plan.look)
    pictures, landmarks = [], []
    for positions in played.qpos if at is None else played.qpos[at]:
        pictures.append(arm.picture_at(positions))
        env.scene.observe()
        landmarks.append(env.scene.landmarks())
    _shifted(arm).take_off()
    changes = tuple(s for s in PICTURE_SHIFTS if s in shifts)
    return list(zip(changed(np.stack(pictures), changes, rng), landmarks, strict=True))


def draw_shifts(
    rng: np.random.Generator, shares: tuple[float, float] = (SINGLE, SEVERAL)
) -> tuple[LookShift | PictureShift, ...]:
    """Names of the shifts of a recording, in the order in which they are laid on; `shares` have one, and two to four."""
    single, several = shares
    names = [*LOOK_SHIFTS, *PICTURE_SHIFTS]
    chance = rng.random()
    if chance >= single + several:
        return ()
    count = 1 if chance < single else int(rng.integers(2, 5))
    chosen = set(rng.permutation(names)[:count])
    return tuple(name for name in names if name in chosen)


def _play(
    plan: EpisodePlan, scene: SceneName, rng: np.random.Generator
) -> tuple[Played, WidowXEnv]:
    learned = plan.policies[tuple(ENV_IDS).index(scene)]
    if learned is not None and rng.random() < plan.on_policy:
        env = policy_env(ENV_IDS[scene], learned, plan.look)
        return play_policy(ENV_IDS[scene], learned, plan.look, plan.seed), env
    config = RewardDataConfig(Path(), split="test" if plan.split == "test" else "train")
    env, arm = env_and_arm(config, scene)
    _shifted(arm)
    behaviour = cast(Behaviour, str(rng.choice(list(SHARES), p=list(SHARES.values()))))
    return play_script(env, behaviour, plan.seed), env


def _arm(env: WidowXEnv) -> MujocoArm:
    if not isinstance(env.arm, MujocoArm):
        raise TypeError(
            "Only the simulation can be recorded here. Make the environment without a robot."
        )
    return env.arm


@cache
def _shifted(arm: MujocoArm) -> Shifted:
    return Shifted(arm.model, arm.data)


def ask(plan: EpisodePlan, recording: Recording, rng: np.random.Generator) -> Iterator[Question]:
    """Yield what is asked about a recording, whole and by chance cut short."""
    if recording.played is None:
        for meaning in rng.choice(TASKS, 2, replace=False):
            task, wording = choose_wording(str(meaning), plan.split, rng)
            yield Question(
                task, str(meaning), wording, None, "organic", len(recording.frames.frames)
            )
        return
    yield from ask_about(plan, recording.played, rng)


def ask_about(plan: EpisodePlan, played: Played, rng: np.random.Generator) -> Iterator[Question]:
    """Yield what is asked about an episode of our own scenes, whole and by chance cut short."""
    total = len(played.captions)
    lengths = [total]
    kept = round(float(rng.choice(KEPT)) * total)
    if rng.random() < CUT and kept >= SHORTEST:
        lengths.append(kept)
    for length in lengths:
        yield from _ask_at(plan, played, length, rng)


def _ask_at(
    plan: EpisodePlan, played: Played, length: int, rng: np.random.Generator
) -> Iterator[Question]:
    level = {task: levels[length - 1] for task, levels in played.levels.items()}
    others = [str(t) for t in rng.permutation([t for t in level if t != played.task])]
    # What was true at the start and given up is rare, and what models are wrong about; then tasks with progress.
    others.sort(key=lambda t: (t not in played.done_at_start, level[t] == 1))
    own = [played.task] if played.task in level else []
    for meaning in [*own, *others[: plan.counterfactuals]]:
        task, wording = choose_wording(meaning, plan.split, rng)
        kind = _kind(played, meaning, level[meaning], whole=length == len(played.captions))
        done = meaning in played.done_at_start
        yield Question(task, meaning, wording, level[meaning], kind, length, done)


def _kind(played: Played, meaning: str, level: int, *, whole: bool) -> Kind:
    if meaning != played.task:
        return "counterfactual"
    if level == 5:
        return "original" if whole and played.behaviour == "expert" else "organic"
    return "organic" if whole else "truncated"


def choose_wording(
    meaning: str, split: str, rng: np.random.Generator
) -> tuple[str, Literal["canonical", "seen", "held_out"]]:
    """Words for a task: its own, others of training, and in the test split others that training never has."""
    kinds = ("canonical", "seen", "held_out") if split == "test" else ("canonical", "seen")
    wording = cast(Literal["canonical", "seen", "held_out"], str(rng.choice(kinds)))
    if wording == "canonical":
        return meaning, wording
    return str(rng.choice(seen(meaning) if wording == "seen" else held_out(meaning))), wording


def _write(plan: EpisodePlan, recording: Recording, questions: list[Question]) -> Written:
    """Encode the recording once; other whole copies have the same bytes, cut ones the same pixels."""
    names, stem = FileNames(), f"{recording.subset}/{stem_of(recording.subset, recording.episode)}"
    total = len(recording.frames.frames)
    beside = plan.folder / recording.subset / f"whole-{plan.seed}.mp4"
    write_video(beside, recording.frames, plan.video)
    rows, notes, videos = [], [], []
    for question in questions:
        cut_short = question.frames < total
        truncated = question.kind == "truncated" and question.reward is not None
        name = names.truncated(stem, question.reward) if truncated else names.whole(stem)
        path = plan.folder / name
        if cut_short:
            cut(beside, path, question.frames)
        else:
            copy(beside, path)
        rows.append(row_of(_example(recording, question), name))
        notes.append(asdict(_note(plan, recording, question, name)))
        videos.append(sha256(path))
    beside.unlink()
    about = None
    if recording.played is not None:
        played = recording.played
        objects = OBJECTS[recording.subset.removeprefix("sim_")]
        known = truth.EpisodeTruth(recording.episode, objects, dict(played.levels), played.captions, played.done_at_start)  # fmt: skip
        about = asdict(known)
    return Written(plan.seed, rows, notes, videos, about)


def _example(recording: Recording, question: Question) -> Example:
    return Example(
        video=Video(
            recording.episode, partial(Frames, recording.frames.frames, recording.frames.fps)
        ),
        task=question.task,
        reward=question.reward,
        subset=recording.subset,
        source_episode=recording.episode,
        kind=question.kind,
        original_task=recording.played.task if recording.played else None,
        kept=question.frames / len(recording.frames.frames),
        checked_by="simulator" if recording.played else "",
        licence=LICENCE,
    )


def _note(plan: EpisodePlan, recording: Recording, question: Question, name: str) -> Note:
    return Note(
        file_name=name,
        seed=plan.seed,
        behaviour=recording.behaviour,
        shifts=recording.shifts,
        wording=question.wording,
        meaning=question.meaning,
        done_at_start=question.done_at_start,
        frames=question.frames,
    )
