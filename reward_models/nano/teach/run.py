"""From an environment to a model folder: data, tower, language model, report; each part is done once."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from reward_models.data import published
from reward_models.data.example import examples
from reward_models.data.sources import ReadOptions
from reward_models.nano import WEIGHTS
from reward_models.nano.teach.config import TeachConfig
from reward_models.nano.teach.dataset import collect
from reward_models.nano.teach.familiarity import write_familiarity
from reward_models.nano.teach.report import REPORT, write_report
from reward_models.nano.teach.tower import teach_tower
from reward_models.qwen3vl.trained_tasks import FILE as TRAINED_TASKS
from reward_models.training.data import open_training_data
from reward_models.training.questions import Question, TrainingSet
from reward_models.training.run import fine_tune
from reward_models.training.run_folder import MODEL

MOST_REPEATS = 4
"""How often an example of a rare level is shown for one of the most frequent level, at most."""


def teach(config: TeachConfig) -> Path:
    """Do what is not done yet; returns the model folder.

    Raises:
        RoboRewardError: See `collect` for the environment, and `fine_tune` for the training.
    """
    torch.set_num_threads(config.threads)
    folder = config.out / MODEL
    data = collect(config)
    if not folder.is_dir():
        base = config.base or WEIGHTS
        if config.tower.steps > 0:
            base = teach_tower(config, data, base)
        _teach_language(config, data, base).replace(folder)
    if not (config.out / REPORT).is_file():
        write_report(config, data, folder)
    return folder


def _teach_language(config: TeachConfig, data: Path, base: Path) -> Path:
    count = config.episodes.val * (1 + config.episodes.prefixes)
    train, validation = open_training_data((data,), count)
    assert validation is not None  # `count` is above 0
    tasks = _tasks(data)
    out = config.out / "language"
    fine_tune(
        base,
        replace(config.language, seed=config.seed),
        TrainingSet(train.clips, even(train.questions)),
        TrainingSet(validation.clips, [by_level(q) for q in validation.questions]),
        out,
        features=config.out / "features",
        feature_dtype=torch.float16,
    )
    (out / MODEL / TRAINED_TASKS).write_text(json.dumps({config.env: tasks}), encoding="utf-8")
    write_familiarity(out / MODEL, tasks, train.clips, validation.clips, config.seed)
    return out / MODEL


def _tasks(data: Path) -> list[str]:
    rows = examples(published.read(data, ReadOptions(split="train")))
    return sorted({row.task for row in rows})


def by_level(question: Question) -> Question:
    """Average errors over true levels: with one environment there are no other subsets, and its levels are not equally frequent."""
    return replace(question, subset=f"level {question.level}")


def even(questions: Sequence[Question]) -> list[Question]:
    """Repeat the questions of rare levels, so that levels become about equally frequent."""
    counts = Counter(question.level for question in questions)
    most = max(counts.values())
    return [
        question
        for question in questions
        for _ in range(min(MOST_REPEATS, round(most / counts[question.level])))
    ]
