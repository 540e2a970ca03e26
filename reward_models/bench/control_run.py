"""Ask a reward model the controls, and count how often it breaks their rules."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import binomtest
from tqdm import tqdm

from reward_models.bench.answers import Answer, AnswerLog
from reward_models.bench.ask import Failures
from reward_models.bench.blind import measure_blind
from reward_models.bench.controls import (
    CONTROLS,
    SUCCESS,
    Control,
    Subject,
    other_tasks,
    other_videos,
    violates,
)
from reward_models.bench.questions import InvalidBenchmark, Question, Questions
from roboreward_gym.scorer import outcomes
from roboreward_gym.types import Clip, ProgressScore, RewardModel

SUBJECTS = 60
"""Successes that the controls are made from."""


def run_controls(
    model: RewardModel,
    questions: Questions,
    originals: AnswerLog,
    log: AnswerLog,
    *,
    batch_size: int = 16,
    bootstrap: int = 1000,
    seed: int = 0,
    subjects: int = SUBJECTS,
) -> dict[str, Any]:
    """Violation rate of each control with its interval, and the numbers of two blind models.

    The intervals are Clopper-Pearson's: each success is another unit. A changed clip without an answer is named on stderr, left
    out and counted in `failed_count`. What the model did not answer unchanged takes no part.

    Args:
        model: The reward model.
        questions: The data; its successes are changed.
        originals: Answers to the unchanged questions.
        log: Where the answers to the controls go, and which there are.
        batch_size: Clips in one call.
        bootstrap: Draws for the intervals of the blind models.
        seed: Seed of all draws.
        subjects: Most successes.

    Raises:
        InvalidBenchmark: There is no success that was answered.
        RoboRewardError: No changed clip got a score.
    """
    rows = tuple(row for row in questions.rows if row.key in originals.answers)
    chosen = _successes(rows, subjects, seed)
    answered = replace(questions, rows=rows)
    failures = Failures()
    jobs = len(chosen) * len(CONTROLS)
    with tqdm(total=jobs, desc="controls", unit="clip") as bar:
        for subject in _subjects(answered, chosen, seed):
            _ask(model, subject, log, batch_size, failures)
            bar.update(len(CONTROLS))
            if failures.stop:
                tqdm.write("The other controls were not asked.", file=sys.stderr)
                break
    if failures.first is not None and not log.answers:
        raise failures.first
    table = {c.name: _count(c, chosen, originals, log) for c in CONTROLS}
    return {
        "successes": len(chosen),
        "failed_count": failures.count,
        "controls": table,
        "blind": measure_blind(answered, bootstrap=bootstrap, seed=seed),
    }


def _successes(rows: Sequence[Question], count: int, seed: int) -> list[Question]:
    """One success of each unit, at most `count`."""
    by_unit = {row.unit: row for row in reversed(rows) if row.level == SUCCESS}
    if not by_unit:
        raise InvalidBenchmark(
            "The controls are made from successes, and no example of level 5 was answered. Name more data."
        )
    found = [by_unit[unit] for unit in sorted(by_unit)]
    order = np.random.default_rng(seed).permutation(len(found))[:count]
    return [found[i] for i in sorted(order)]


def _subjects(questions: Questions, chosen: Sequence[Question], seed: int) -> Iterator[Subject]:
    tasks, videos = other_tasks(questions.rows, seed), other_videos(questions.rows, seed)
    for number, row in enumerate(chosen):
        other = videos.get(row.key)
        yield Subject(
            question=row,
            clip=questions.read(row),
            other_task=tasks.get(row.key),
            other_clip=None if other is None else questions.read(other),
            seed=seed + number,
        )


def _ask(
    model: RewardModel, subject: Subject, log: AnswerLog, batch_size: int, failures: Failures
) -> None:
    """Answer what is open of one success; what gets no answer stays open."""
    open_controls: list[tuple[str, Clip]] = []
    for control in CONTROLS:
        key = _key(control, subject.question)
        clip = None if key in log.answers else control.change(subject)
        if clip is not None:
            open_controls.append((key, clip))
    for start in range(0, len(open_controls), batch_size):
        batch = open_controls[start : start + batch_size]
        found = outcomes(model, [clip for _, clip in batch])
        for (key, _), outcome in zip(batch, found, strict=True):
            if isinstance(outcome, ProgressScore):
                log.add(Answer.of(key, outcome, 0.0))
            failures.note(key, outcome)


def _count(
    control: Control, rows: Sequence[Question], originals: AnswerLog, log: AnswerLog
) -> dict[str, Any]:
    asked = [row for row in rows if _key(control, row) in log.answers]
    answers = [log.answers[_key(control, row)] for row in asked]
    broken = sum(
        violates(control.rule, answer.level, originals.answers[row.key].level)
        for row, answer in zip(asked, answers, strict=True)
    )
    interval = binomtest(broken, len(asked)).proportion_ci(0.95) if asked else None
    return {
        "about": control.about,
        "rule": control.rule,
        "asked": len(asked),
        "violations": broken,
        "rate": broken / len(asked) if asked else None,
        "interval": None if interval is None else [float(interval.low), float(interval.high)],
        "unreadable": sum(answer.level is None for answer in answers),
    }


def _key(control: Control, row: Question) -> str:
    return f"{control.name}: {row.key}"
