"""Changed videos and tasks to which the right answer is known: they show what a reward model looks at, and what it ignores.

All are made from successes. RoboReward's rubric judges only the final state, without time limits; the rules follow from it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from reward_models.bench.questions import Question
from roboreward_gym.types import LEVELS, Clip

Rule = Literal["must fail", "must stay", "no credit"]
"""`must fail`: level 5 is a violation. `must stay`: becoming 5, or no longer being 5, is one. `no credit`: any level above 1
is one. An unreadable answer violates `must stay` only."""

SUCCESS = LEVELS[-1]
COLOURS = re.compile(
    r"\b(red|blue|green|yellow|orange|purple|pink|brown|black|white|gr[ae]y|cyan|magenta)\b", re.I
)
SIDES = re.compile(r"\b(left|right)\b", re.I)
SHORTEST = 2
"""Fewest frames of a clip: one frame shows no change."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A success, and what its data has beside it.

    Attributes:
        question: The success.
        clip: Its video and task.
        other_task: A task that this video does not fulfil; None if none is known.
        other_clip: A video that does not fulfil this task; None if none is known.
        seed: Seed of what is drawn for it.
    """

    question: Question
    clip: Clip
    other_task: str | None
    other_clip: Clip | None
    seed: int


@dataclass(frozen=True)
class Control:
    """One way to change a success.

    Attributes:
        name: Short name.
        about: What is changed, in words.
        rule: What the right answer is.
        change: Returns the changed clip, or None where it makes no sense.
    """

    name: str
    about: str
    rule: Rule
    change: Callable[[Subject], Clip | None]


def frozen_first(subject: Subject) -> Clip:
    """Nothing happens: the first frame all the time."""
    frames = subject.clip.frames
    return _with_frames(subject, np.broadcast_to(frames[:1], frames.shape).copy())


def black(subject: Subject) -> Clip:
    """Nothing can be seen."""
    return _with_frames(subject, np.zeros_like(subject.clip.frames))


def other_task(subject: Subject) -> Clip | None:
    """The same video with a task that it does not fulfil."""
    if subject.other_task is None:
        return None
    return Clip(subject.clip.frames, subject.other_task, subject.clip.fps)


def other_video(subject: Subject) -> Clip | None:
    """Another episode's video with this task."""
    if subject.other_clip is None:
        return None
    return Clip(subject.other_clip.frames, subject.clip.task, subject.other_clip.fps)


def cut(part: float) -> Callable[[Subject], Clip]:
    """Return a change that shows only the first part."""

    def change(subject: Subject) -> Clip:
        count = max(SHORTEST, round(part * len(subject.clip.frames)))
        return _with_frames(subject, subject.clip.frames[:count])

    return change


def reversed_time(subject: Subject) -> Clip:
    """Play it backwards: the final state is the first one."""
    return _with_frames(subject, subject.clip.frames[::-1].copy())


def red_and_blue(subject: Subject) -> Clip | None:
    """Swap two colour channels; makes no sense for a task that names a colour."""
    if COLOURS.search(subject.clip.task):
        return None
    return _with_frames(subject, subject.clip.frames[..., ::-1].copy())


def retimed(factor: float) -> Callable[[Subject], Clip]:
    """Return a change that plays the same frames faster or slower."""

    def change(subject: Subject) -> Clip:
        return Clip(subject.clip.frames, subject.clip.task, subject.clip.fps * factor)

    return change


def last_frame(subject: Subject) -> Clip:
    """The final state all the time."""
    frames = subject.clip.frames
    return _with_frames(subject, np.broadcast_to(frames[-1:], frames.shape).copy())


def mirrored(subject: Subject) -> Clip:
    """Swap left and right in pictures and words."""
    task = SIDES.sub(lambda found: _other_side(found[0]), subject.clip.task)
    return Clip(subject.clip.frames[:, :, ::-1].copy(), task, subject.clip.fps)


def run_on(subject: Subject) -> Clip:
    """The recording goes on for as long again, and nothing more happens."""
    frames = subject.clip.frames
    still = np.broadcast_to(frames[-1:], frames.shape)
    return _with_frames(subject, np.concatenate([frames, still]))


def start_is_goal(subject: Subject) -> Clip:
    """Backwards, then forwards: the goal is reached at the start, undone, and reached again."""
    frames = subject.clip.frames
    return _with_frames(subject, np.concatenate([frames[::-1], frames]))


def other_world(subject: Subject) -> Clip:
    """Coloured rectangles that drift over a gradient: no robot and no object."""
    frames = subject.clip.frames
    rng = np.random.default_rng(subject.seed)
    count, height, width, _ = frames.shape
    ramp = np.linspace(40, 200, width)[None, :, None] * rng.uniform(0.4, 1.0, 3)
    video = np.repeat(np.broadcast_to(ramp, (height, width, 3))[None], count, axis=0)
    for _ in range(4):
        colour, place = rng.integers(0, 256, 3), rng.uniform(0.1, 0.7, 2)
        speed = rng.uniform(-0.2, 0.2, 2)
        for t in range(count):
            y, x = ((place + speed * t / count) % 0.8 * (height, width)).astype(int)
            video[t, y : y + height // 6, x : x + width // 6] = colour
    return _with_frames(subject, video.astype(np.uint8))


CONTROLS = (
    Control("first frame frozen", "nothing happens", "must fail", frozen_first),
    Control("black", "nothing can be seen", "must fail", black),
    Control("another task", "a task that the video does not fulfil", "must fail", other_task),
    Control("another video", "a video that does not fulfil the task", "must fail", other_video),
    Control("cut at 10 %", "only the first 10 %", "must fail", cut(0.1)),
    Control("cut at 30 %", "only the first 30 %", "must fail", cut(0.3)),
    Control("reversed", "played backwards", "must fail", reversed_time),
    Control("another world", "rectangles that drift over a gradient", "no credit", other_world),
    Control("red and blue swapped", "two colour channels swapped", "must stay", red_and_blue),
    Control("twice as fast", "the same frames in half the time", "must stay", retimed(2.0)),
    Control("half as fast", "the same frames in twice the time", "must stay", retimed(0.5)),
    Control("last frame only", "the final state all the time", "must stay", last_frame),
    Control("mirrored", "left and right swapped, in words too", "must stay", mirrored),
    Control("run-on", "as long again after the success", "must stay", run_on),
    Control("start is goal", "backwards, then forwards", "must stay", start_is_goal),
)


def violates(rule: Rule, level: int | None, original: int | None) -> bool:
    """Whether an answer breaks a rule.

    Args:
        rule: The rule.
        level: Answer to the changed clip; None is unreadable.
        original: Answer to the unchanged one.
    """
    if rule == "must fail":
        return level == SUCCESS
    if rule == "no credit":
        return level is not None and level > LEVELS[0]
    return (level == SUCCESS) != (original == SUCCESS)


def other_tasks(rows: Sequence[Question], seed: int) -> dict[str, str]:
    """For each success a task that its video does not fulfil.

    Taken is one that the data says so of: the same video with a lower level. Else it is a task of another subset, if that
    subset shares no task with this one; a task of the same subset might be fulfilled as well.
    """
    rng, tasks, found = np.random.default_rng(seed), _tasks_of_subsets(rows), {}
    for row in (row for row in rows if row.level == SUCCESS):
        known = [r.task for r in rows if r.video == row.video and r.level < SUCCESS]
        far = [
            task
            for subset, names in sorted(tasks.items())
            if not names & tasks[row.subset]
            for task in sorted(names)
        ]
        choice = sorted(set(known)) or far
        if choice:
            found[row.key] = choice[int(rng.integers(len(choice)))]
    return found


def other_videos(rows: Sequence[Question], seed: int) -> dict[str, Question]:
    """For each success a question about a video of another unit that is not known to fulfil its task.

    Taken is one that the data gives a lower level for this task; else one of a subset that shares no task.
    """
    rng, tasks, found = np.random.default_rng(seed), _tasks_of_subsets(rows), {}
    for row in (row for row in rows if row.level == SUCCESS):
        apart = [r for r in rows if r.unit != row.unit]
        known = [
            r
            for r in apart
            if r.task == row.task and r.level < SUCCESS and r.kind == "counterfactual"
        ]
        far = [r for r in apart if not tasks[r.subset] & tasks[row.subset]]
        choice = known or far
        if choice:
            found[row.key] = choice[int(rng.integers(len(choice)))]
    return found


def _tasks_of_subsets(rows: Sequence[Question]) -> dict[str, set[str]]:
    tasks: dict[str, set[str]] = {}
    for row in rows:
        tasks.setdefault(row.subset, set()).add(row.task)
    return tasks


def _with_frames(subject: Subject, frames: np.ndarray) -> Clip:
    return Clip(frames, subject.clip.task, subject.clip.fps)


def _other_side(word: str) -> str:
    other = "right" if word.lower() == "left" else "left"
    return other.capitalize() if word[0].isupper() else other
