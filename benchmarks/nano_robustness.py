"""How a nano bears other looks, sizes, spellings and behaviours: `python -m benchmarks.nano_robustness --model M --data DIR --metrics FILE`.

DIR is a set of `python -m experiments.simulation.simreward`, of which the test split is asked; its side file says how each recording
was shown, what was played and whose words the task has. One thing is changed at a time. A shift is measured on plain behaviours and a
policy's recordings, with tasks in their own words; wordings and behaviours on recordings without a shift of their look. Recordings that
look as in training are asked again at half and twice their size, and with the task spelled with a capital and a full stop. The numbers
are added to FILE, the JSON that `roboreward bench` wrote about the same model on the test split of `reward_data`; with `--abstention`
also the two rates that `benchmarks.abstention` wrote.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from reward_models.bench.answers import AnswerLog, arrays
from reward_models.bench.ask import ask
from reward_models.bench.benchmark import load_named_model
from reward_models.bench.metrics import (
    calibration_error,
    false_positive_rate,
    macro_mean_absolute_error,
)
from reward_models.bench.questions import Question, Questions, open_questions
from reward_models.data.simulator import Note, read_notes
from reward_models.nano.familiarity import resized
from roboreward_gym._cli import keep_freed_memory, run_program
from roboreward_gym.types import LEVELS, Clip, RewardModel

SIZES = {"half_size": 0.5, "double_size": 2.0}
SPELLING = "capital_and_full_stop"

PLAIN = ("expert", "noisy", "interrupted", "random", "on_policy")
"""Behaviours in which the goal was not true at the start, and that end when it is."""
WORDINGS = {"seen": ("canonical", "seen"), "unseen": ("held_out",)}

Chosen = Callable[[Note], bool]


@dataclass(frozen=True)
class RobustnessConfig:
    """What to measure."""

    model: str
    """Name of the reward model, or the folder of a checkpoint."""
    data: Path
    """Folder that `experiments.simulation.simreward` made, with a test split."""
    metrics: Path
    """JSON file that the numbers are added to; made if it is not there. Answers are kept beside it."""
    abstention: Path | None = None
    """File of `benchmarks.abstention` about the same model."""
    resized: int = 400
    """Questions that are asked again at other sizes and in another spelling."""


def measure(config: RobustnessConfig) -> dict[str, Any]:
    """Ask everything and return the numbers."""
    model = load_named_model(config.model)
    questions = open_questions([str(config.data)], "test")
    by_name = {Path(n.file_name).name: n for n in read_notes(config.data / "test").values()}
    notes = {row.key: by_name[row.key.partition("-")[2]] for row in questions.rows}
    log = _answers(model, config, questions, "recordings")
    rows = questions.rows

    def of(chosen: Chosen) -> list[Question]:
        return [row for row in rows if chosen(notes[row.key])]

    plain = of(lambda note: not note.shifts and _is_plain(note))
    names = sorted({shift for note in notes.values() for shift in note.shifts})
    shifts = {
        n: _macro(of(lambda note, n=n: n in note.shifts and _is_plain(note)), log) for n in names
    }
    again = replace(questions, rows=tuple(plain[: config.resized]))
    for name, changed in _changed(again).items():
        shifts[name] = _macro(changed.rows, _answers(model, config, changed, name))
    on_policy = of(lambda note: note.behaviour == "on_policy" and note.wording == "canonical")
    start_is_goal = of(lambda note: note.done_at_start and _looks_known(note))
    run_on = of(lambda note: note.behaviour == "run_on" and _looks_known(note))
    return {
        "simreward": {
            "episodes": len({note.seed for note in notes.values()}),
            "all": _numbers(rows, log),
            "in_range": _numbers(plain, log),
            "examples": {
                **{
                    name: len(of(lambda note, n=name: n in note.shifts and _is_plain(note)))
                    for name in names
                },
                "on_policy": len(on_policy),
                "start_is_goal": len(start_is_goal),
                "run_on": sum(row.level == LEVELS[-1] for row in run_on),
            },
        },
        "shifts": shifts,
        "on_policy_false_positive_rate": false_positive_rate(*_levels(on_policy, log)),
        "start_is_goal_accuracy": _share_right(start_is_goal, log),
        "run_on_24s_rate": _share_right([r for r in run_on if r.level == LEVELS[-1]], log),
        **{
            f"{name}_wordings_macro_mae": _macro(
                of(lambda note, words=words: not note.shifts and note.wording in words), log
            )
            for name, words in WORDINGS.items()
        },
    }


def _is_plain(note: Note) -> bool:
    """Whether task and behaviour are such as any training has."""
    return note.wording == "canonical" and note.behaviour in PLAIN


def _looks_known(note: Note) -> bool:
    """Whether nothing but the behaviour is unusual."""
    return not note.shifts and note.wording != "held_out"


def _changed(questions: Questions) -> Mapping[str, Questions]:
    """The same questions about recordings of other sizes, and in another spelling."""

    def scaled(factor: float) -> Callable[[Question], Clip]:
        return lambda row: _resized(questions.read(row), factor)

    found = {name: replace(questions, read=scaled(factor)) for name, factor in SIZES.items()}
    spelled = tuple(replace(r, task=f"{r.task[0].upper()}{r.task[1:]}.") for r in questions.rows)
    return found | {SPELLING: replace(questions, rows=spelled)}


def _resized(clip: Clip, factor: float) -> Clip:
    return Clip(resized(clip.frames, factor), clip.task, clip.fps, clip.indices, clip.num_frames)


def _answers(
    model: RewardModel, config: RobustnessConfig, questions: Questions, title: str
) -> AnswerLog:
    path = config.metrics.with_suffix(f".{title}.answers.jsonl")
    log = AnswerLog(path, config.model, questions.fingerprint())
    ask(model, questions, log, title=title)
    return log


def _levels(rows: Sequence[Question], log: AnswerLog) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true levels."""
    return arrays([log.answers[row.key] for row in rows])[0], np.array([r.level for r in rows])


def _macro(rows: Sequence[Question], log: AnswerLog) -> float:
    """Plain mean of the errors of each scene and kind."""
    return macro_mean_absolute_error(*_levels(rows, log), [f"{r.subset}-{r.kind}" for r in rows])[0]


def _share_right(rows: Sequence[Question], log: AnswerLog) -> float:
    levels, truth = _levels(rows, log)
    return float(np.mean(levels == truth))


def _numbers(rows: Sequence[Question], log: AnswerLog) -> dict[str, Any]:
    levels, truth = _levels(rows, log)
    probabilities = arrays([log.answers[row.key] for row in rows])[1]
    known = ~np.isnan(probabilities).any(1)
    right = (levels == truth).astype(np.float64)
    return {
        "examples": len(rows),
        "macro_mae": _macro(rows, log),
        "level_macro_mae": macro_mean_absolute_error(levels, truth, [str(t) for t in truth])[0],
        "false_positive_rate": false_positive_rate(levels, truth),
        "calibration_error": calibration_error(probabilities[known].max(1), right[known]),
    }


def main() -> None:
    """Command line."""
    config = tyro.cli(RobustnessConfig, description=__doc__)
    keep_freed_memory()
    found = measure(config)
    if config.abstention is not None:
        about = json.loads(config.abstention.read_text("utf-8"))
        found |= {name: about[name] for name in ("abstains_elsewhere", "abstains_at_home")}
    known = json.loads(config.metrics.read_text("utf-8")) if config.metrics.exists() else {}
    config.metrics.write_text(json.dumps(known | found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    run_program(main)
