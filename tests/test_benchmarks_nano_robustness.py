"""Each number of the robustness of a nano is about the recordings it is named after."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks import nano_robustness
from benchmarks.nano_robustness import RobustnessConfig, measure
from reward_models.bench.questions import Question, Questions
from reward_models.data.simulator import Note
from roboreward_gym.types import Clip, ProgressScore

FILMS = {  # behaviour, shifts, wording, done at start, true level, and what the model says
    "plain": ("expert", (), "canonical", False, 5, 5),
    "table": ("expert", ("table",), "canonical", False, 5, 2),
    "words": ("expert", (), "held_out", False, 3, 1),
    "policy": ("on_policy", (), "canonical", False, 4, 5),
    "start": ("start_satisfied", (), "seen", True, 1, 1),
    "ran": ("run_on", (), "canonical", False, 5, 5),
    "ran-other-task": ("run_on", (), "canonical", False, 1, 5),
    "table-words": ("expert", ("table",), "held_out", False, 5, 1),
}


class ByRedness:
    """Says the level that the red of the first pixel is ten times of; small, large and respelled recordings get a 1."""

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: Clip) -> ProgressScore:
        usual = clip.frames.shape[1:3] == (20, 40) and clip.task == "lift it"
        level = int(clip.frames[0, 0, 0, 0]) // 10 if usual else 1
        return ProgressScore(level, np.eye(5)[level - 1], 0.0, f"ANSWER: {level}", {})


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    notes, rows, recordings = {}, [], {}
    for i, (name, (behaviour, shifts, wording, at_start, level, said)) in enumerate(FILMS.items()):
        file = f"{name}.mp4"
        notes[file] = Note(file, i, behaviour, shifts, wording, "lift it", at_start, 8)
        rows.append(Question(f"{i}-{file}", file, file, "sim_toy", "organic", "lift it", level))
        recordings[file] = np.full((8, 20, 40, 3), 10 * said, np.uint8)
    questions = Questions(tuple(rows), lambda row: Clip(recordings[row.video], row.task, 5.0))
    monkeypatch.setattr(nano_robustness, "open_questions", lambda *_: questions)
    monkeypatch.setattr(nano_robustness, "read_notes", lambda _: notes)
    monkeypatch.setattr(nano_robustness, "load_named_model", lambda _: ByRedness())
    return measure(RobustnessConfig("any", tmp_path, tmp_path / "metrics.json"))


def test_a_shift_is_measured_on_films_that_are_otherwise_plain(found: dict) -> None:
    assert found["shifts"]["table"] == 3.0
    assert found["simreward"]["in_range"]["macro_mae"] == 0.5


def test_sizes_and_spelling_are_asked_again(found: dict) -> None:
    for name in ("half_size", "double_size", "capital_and_full_stop"):
        assert found["shifts"][name] == 3.5


def test_behaviours_and_wordings_have_their_own_numbers(found: dict) -> None:
    assert found["on_policy_false_positive_rate"] == 1.0
    assert found["start_is_goal_accuracy"] == 1.0
    assert found["run_on_24s_rate"] == 1.0
    assert found["unseen_wordings_macro_mae"] == 2.0
    assert found["seen_wordings_macro_mae"] == 1.0
