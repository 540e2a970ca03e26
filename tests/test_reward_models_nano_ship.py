import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from reward_models.nano.ship import ShipConfig, ship
from reward_models.qwen3vl.familiarity import FILE
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym.errors import WeightsError
from tests.tiny_vlm import TINY, write_tiny_checkpoint

NUMBERS = {
    "split": "test",
    "episodes": 1000,
    "examples": 4000,
    "macro_mae": 0.41,
    "false_positive_rate": 0.032,
    "always_three_macro_mae": 1.5,
    "no_negatives": {"macro_mae": 2.5, "false_positive_rate": 0.99},
}
ROBUSTNESS = {
    "simreward": {"in_range": {"macro_mae": 0.2}},
    "shifts": {"field_of_view": 0.31},
    "unseen_wordings_macro_mae": 0.52,
    "on_policy_false_positive_rate": 0.013,
    "start_is_goal_accuracy": None,
    "run_on_24s_rate": 0.95,
    "abstains_elsewhere": 1.0,
}


def write_run(folder: Path, stage: str, seed: int, **begun_with: str) -> Path:
    """The notes of a run of which only `stage` was asked for."""
    run = {
        "stage": stage,
        "seed": seed,
        "size": asdict(TINY),
        "tower": {"steps": 10 + seed, "batch_size": 4},
        "language": {"steps": 20 + seed, "batch_size": 8},
        "language_init": None,
        "tower_from": None,
    }
    (folder / "language").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(run | begun_with))
    if stage != "tower":
        (folder / "language" / "config.json").write_text(json.dumps({"examples_per_step": 16}))
    return folder


@pytest.fixture
def config(tmp_path: Path) -> ShipConfig:
    run = write_run(tmp_path / "run", "all", 3)
    selected = {"step": 12, "steps": 20, "validation_macro_mae": 0.2345}
    (run / "selected.json").write_text(json.dumps(selected))
    (tmp_path / "metrics.json").write_text(json.dumps(NUMBERS))
    command = "python -m reward_models.nano.train --seed 3"
    weights = tmp_path / "nano" / "weights"
    return ShipConfig(run, tmp_path / "metrics.json", command, 50.4, weights)


def check_card(config: ShipConfig, *facts: str) -> str:
    card = (config.weights / "README.md").read_text()
    assert not [fact for fact in facts if fact not in card]
    return card


def test_settings_are_those_of_the_installed_libraries(config: ShipConfig) -> None:
    model = write_tiny_checkpoint(config.run / "model")
    installed = (model / "config.json").read_text()
    newer = json.loads(installed) | {"transformers_version": "99.0.0"}
    newer["vision_config"]["rope_parameters"] = {"rope_type": "of_tomorrow"}
    (model / "config.json").write_text(json.dumps(newer))
    ship(config)
    assert (config.weights / "config.json").read_text() == installed
    shipped, trained = (load_file(f / "model.safetensors") for f in (config.weights, model))
    assert all(torch.equal(shipped[name], trained[name]) for name in trained)


def test_what_is_shipped_loads_and_says_what_was_measured(config: ShipConfig) -> None:
    write_tiny_checkpoint(config.run / "model")
    ship(config)
    RoboReward(config.weights)
    check_card(
        config,
        "| nano | 0.410 | 3.2% |",
        "| nano without negatives | 2.500 | 99.0% |",
        "50 minutes of training",
        "Tower: 13 steps of 4 pairs of frames on dense labels of the simulator (seed 3)",
        "tower frozen: 23 steps of 16 questions (seed 3). Weights of",
        "step 12 of 20, the lowest macro MAE on the validation split (0.234)",
        "For the simulated WidowX of this repository only",
        "open both drawers",
    )
    assert json.loads((config.weights / "trained_tasks.json").read_text()).keys() == {
        "toy",
        "drawer",
    }
    shipped = json.loads((config.weights.parent / "metrics.json").read_text())
    assert shipped == NUMBERS | {"model": "roboreward-nano"}


def test_the_card_says_how_it_bears_changes_if_that_was_measured(config: ShipConfig) -> None:
    write_tiny_checkpoint(config.run / "model")
    ship(config)
    assert "one thing changed" not in (config.weights / "README.md").read_text()
    config.metrics.write_text(json.dumps(NUMBERS | ROBUSTNESS))
    ship(config)
    card = check_card(
        config,
        "| nothing | 0.200 |",
        "| field of view | 0.310 |",
        "| words that training never had | 0.520 |",
        "a fine-tuned policy | 1.3% |",
        "abstains from | 100.0% |",
    )
    assert "given up" not in card


def test_the_card_names_every_stage_that_made_the_weights(config: ShipConfig) -> None:
    root = config.run.parent
    tower = str(write_run(root / "tower", "tower", 0))
    first = str(write_run(root / "first", "language", 1, tower_from=tower) / "model")
    last = write_run(root / "last", "language", 2, tower_from=tower, language_init=first)
    write_tiny_checkpoint(last / "model")
    (config.run / "selected.json").rename(last / "selected.json")
    ship(replace(config, run=last))
    check_card(
        config,
        "Tower: 10 steps of 4 pairs of frames on dense labels of the simulator (seed 0)",
        "tower frozen: 21 steps of 16 questions (seed 1), then 22 steps of 16 questions (seed 2). Weights",
    )
    (root / "first" / "config.json").unlink()
    with pytest.raises(WeightsError, match=r"first/config\.json, which says how"):
        ship(replace(config, run=last))


@pytest.mark.parametrize("abstains", [True, False])
def test_the_card_says_whether_it_abstains(config: ShipConfig, *, abstains: bool) -> None:
    write_tiny_checkpoint(config.run / "model")
    if abstains:
        (config.run / "model" / FILE).touch()
    ship(config)
    card = (config.weights / "README.md").read_text()
    assert ("it abstains" in card) == abstains
    assert ("logs a warning" in card) == (not abstains)
    assert (config.weights / FILE).is_file() == abstains


def test_a_run_without_validation_says_so(config: ShipConfig) -> None:
    write_tiny_checkpoint(config.run / "model")
    selected = {"step": 20, "steps": 20, "validation_macro_mae": None}
    (config.run / "selected.json").write_text(json.dumps(selected))
    ship(config)
    assert "last step (20): the run had no validation" in (config.weights / "README.md").read_text()


@pytest.mark.parametrize("missing", ["model", "selected.json"])
def test_an_unfinished_run_is_not_shipped(config: ShipConfig, missing: str) -> None:
    if missing == "selected.json":
        write_tiny_checkpoint(config.run / "model")
        (config.run / missing).unlink()
    with pytest.raises(WeightsError, match="no finished run"):
        ship(config)


def test_large_weights_are_not_shipped(config: ShipConfig) -> None:
    write_tiny_checkpoint(config.run / "model")
    (config.run / "model" / "more.safetensors").write_bytes(bytes(15_000_001))
    with pytest.raises(WeightsError, match="more than the limit"):
        ship(config)
    assert not config.weights.exists()
