import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from reward_models.nano.language import LanguageConfig
from reward_models.nano.tower import TowerConfig
from reward_models.nano.train import TrainConfig, learning_rate, train
from reward_models.nano.training_state import load_state, save_state
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym.errors import WeightsError
from tests.reward_folder import write_reward_folder
from tests.tiny_vlm import TINY, random_clip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    root = tmp_path_factory.mktemp("data")
    return (
        write_reward_folder(root / "train", 6, size=(32, 64)),
        write_reward_folder(root / "val", 3, size=(32, 64), split="validation", seed=50),
    )


def config_for(folders: tuple[Path, ...], out: Path, **changes: object) -> TrainConfig:
    config = TrainConfig(
        data=folders,
        out=out,
        size=TINY,
        tower=TowerConfig(steps=4, batch_size=2, warmup=2, shift_px=2),
        language=LanguageConfig(steps=4, batch_size=3, warmup=2),
        threads=1,
        checkpoint_every=2,
        validate_every=2,
        validation_examples=4,
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture(scope="module")
def run(folders: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    train(config_for(folders, out))
    return out


def test_a_run_leaves_a_checkpoint_that_scores(run: Path) -> None:
    score = RoboReward(run / "model", off_format_limit=1.0).score([random_clip(9)])[0]
    assert score.level in (1, 2, 3, 4, 5)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["step"]) for row in rows] == [
        ("tower", 2),
        ("tower", 4),
        ("language", 2),
        ("language", 4),
    ]
    assert rows[-1]["validation_macro_mae"] >= 0


def test_the_language_stage_leaves_the_tower_alone(run: Path) -> None:
    before, after = (load_file(run / part / "model.safetensors") for part in ("base", "model"))
    visual = [name for name in before if "visual" in name]
    assert visual
    assert all(torch.equal(before[name], after[name]) for name in visual)
    assert any(
        not torch.equal(before[name], after[name]) for name in before if "visual" not in name
    )


def test_a_stopped_run_goes_on_to_the_same_weights(
    run: Path, folders: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import reward_models.nano.train as module

    config = config_for(folders, tmp_path / "run")
    right = module.language_loss
    calls = []

    def stop_at_the_fourth_step(*args: Any) -> object:
        calls.append(args)
        # Validation asks for a loss too: two examples fit one batch, after the second step.
        if len(calls) == 4:
            raise KeyboardInterrupt
        return right(*args)

    monkeypatch.setattr(module, "language_loss", stop_at_the_fourth_step)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    assert not (tmp_path / "run" / "model").exists()
    monkeypatch.setattr(module, "language_loss", right)
    train(config)
    a, b = (load_file(folder / "model" / "model.safetensors") for folder in (run, tmp_path / "run"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_another_run_can_lend_its_tower(
    run: Path, folders: tuple[Path, ...], tmp_path: Path
) -> None:
    language = LanguageConfig(steps=2, batch_size=2, negatives=False)
    out = tmp_path / "no-negatives"
    train(config_for(folders, out, tower_from=run, language=language))
    lent, used = (load_file(f / "model.safetensors") for f in (run / "base", out / "model"))
    assert all(torch.equal(lent[name], used[name]) for name in lent if "visual" in name)
    assert not (out / "base").exists()


def test_a_folder_of_another_configuration_is_refused(run: Path, folders: tuple[Path, ...]) -> None:
    with pytest.raises(WeightsError, match="seed"):
        train(config_for(folders, run, seed=7))


def test_data_without_validation_is_enough(
    folders: tuple[Path, ...], tmp_path: Path, run: Path
) -> None:
    out = tmp_path / "run"
    train(
        config_for(folders[:1], out, tower_from=run, language=LanguageConfig(steps=1, batch_size=2))
    )
    assert (out / "model" / "config.json").is_file()


def test_the_rate_rises_and_falls_to_zero() -> None:
    schedule = TowerConfig(steps=100, warmup=10, learning_rate=1.0)
    rates = [learning_rate(schedule, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=0.05)
    assert rates[-1] < 0.001


def test_state_survives_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    module = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(module.parameters(), 0.1)
    module(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    save_state(path, 7, {"m": module}, optimizer)
    other = torch.nn.Linear(3, 2)
    restored = torch.optim.AdamW(other.parameters(), 0.1)
    assert load_state(path, {"m": other}, restored) == 7
    torch.testing.assert_close(other.weight, module.weight)
    moments = [s["exp_avg"] for s in restored.state_dict()["state"].values()]
    assert [m.tolist() for m in moments] == [
        s["exp_avg"].tolist() for s in optimizer.state.values()
    ]


@pytest.mark.parametrize("damage", ["truncated", "other model"])
def test_a_damaged_state_is_an_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "state.safetensors"
    module = torch.nn.Linear(3, 2)
    save_state(path, 7, {"m": module}, torch.optim.AdamW(module.parameters(), 0.1))
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:40])
    with warnings.catch_warnings(), pytest.raises(WeightsError, match="training state"):
        load_state(path, {"m": torch.nn.Linear(4, 2)})
