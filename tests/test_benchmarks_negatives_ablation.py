"""The comparison of negatives: which examples each condition has, and whose labels they carry."""

import itertools
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.negatives_ablation import CONDITIONS, AblationConfig, labelled, negatives, summary
from reward_models.data.example import Example, Frames, Kind, Video
from reward_models.data.published import KEPT
from reward_models.data.published_writer import write_examples
from tests import augment_data


def organic_set(folder: Path) -> Path:
    """A failure with a true level, and a success, which is not a failure."""

    def made(name: str, reward: int, kind: Kind) -> Example:
        load = partial(Frames, augment_data.moving_square(7), 5.0)
        return Example(
            Video(name, load), augment_data.TASK, reward, "sim_toy", name, kind, augment_data.TASK
        )

    items = [made("failed", 2, "organic"), made("done", 5, "original")]
    write_examples(folder, "train", iter(items), augment_data.FORM)
    return folder


def test_each_condition_adds_a_kind() -> None:
    kinds = list(CONDITIONS.values())
    assert all({"original"} <= found for found in kinds)
    assert kinds[3] == kinds[1] | kinds[2]
    assert kinds[4] - kinds[3] == {"organic"}
    assert all(a != b for a, b in itertools.combinations(kinds, 2))


def test_negatives_have_the_labels_of_the_pipeline_and_failures_their_own(tmp_path: Path) -> None:
    successes = augment_data.write_set(tmp_path / "successes", 3)
    config = AblationConfig(tmp_path, "", "", successes=successes, runs=tmp_path / "runs")
    pool = labelled(negatives(config), f"published:{organic_set(tmp_path / 'organic')}")
    cut = [e for e in pool if e.kind == "truncated"]
    assert {(e.reward, e.kept) for e in cut} == set(KEPT.items())
    assert len(cut) == 12, "none is rejected because the simulator knows another level"
    assert {e.reward for e in pool if e.kind == "counterfactual"} >= {1, 2, 3}
    assert [(e.reward, e.source_episode) for e in pool if e.kind == "organic"] == [(2, "failed")]
    assert sum(e.kind == "original" for e in pool) == 3


def test_controls_of_all_seeds_are_counted_together() -> None:
    def measured(error: float, broken: int) -> dict:
        numbers = dict.fromkeys(
            ("level_macro_mae", "false_positive_rate", "true_positive_rate"), 0.5
        )
        bounds = {key: [0.4, 0.6] for key in (*numbers, "macro_mae")}
        control = {"rule": "must fail", "asked": 10, "violations": broken}
        return {
            **numbers,
            "macro_mae": error,
            "intervals": bounds,
            "controls": {"controls": {"black": control}},
        }

    found = summary([measured(0.5, 1), measured(0.7, 4)], 99)
    assert found["macro_mae"]["mean"] == 0.6
    assert np.isclose(found["macro_mae"]["sd"], 0.1414)
    assert found["controls"]["black"] == {"rule": "must fail", "asked": 20, "violations": 5}
