"""One step of the optimizer by hand, the schedule, and what lies on disk in between."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from reward_models.nano.config import TowerConfig, TrainConfig
from reward_models.nano.optimization import optimize
from reward_models.nano.training_state import load_state, save_state
from reward_models.training.errors import TrainingFailure
from roboreward_gym.errors import InvalidSetting, WeightsError

STEADY = TowerConfig(steps=2, learning_rate=0.1, warmup=0, weight_decay=0.0)


class Scalars(nn.Module):
    """A matrix with one entry and a bias with one entry, both 1."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.ones(1, 1))
        self.bias = nn.Parameter(torch.ones(1))


def run(out: Path, schedule: TowerConfig, module: nn.Module, loss_at: Any, every: int = 1) -> None:
    optimize(schedule, out, {"m": module}, iter, loss_at, checkpoint_every=every)


def rows(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_gradients_are_clipped_to_norm_one(tmp_path: Path) -> None:
    module = Scalars()
    # Gradients 30 and 40: norm 50, clipped to 0.6 and 0.8; then 0.6 and 0, which stay.
    losses = [
        lambda: 30 * module.matrix.sum() + 40 * module.bias.sum(),
        lambda: 0.6 * module.matrix.sum() + 0 * module.bias.sum(),
    ]
    run(tmp_path, STEADY, module, lambda step: (losses[step](), {}))
    moments = load_file(tmp_path / "tower.safetensors")
    # First moments after two steps: 0.9 * 0.1 * first + 0.1 * second.
    assert moments["optimizer/0/exp_avg"].item() == pytest.approx(0.09 * 0.6 + 0.1 * 0.6)
    assert moments["optimizer/1/exp_avg"].item() == pytest.approx(0.09 * 0.8)


def test_only_matrices_decay(tmp_path: Path) -> None:
    module = Scalars()
    schedule = dataclasses.replace(STEADY, steps=1, weight_decay=0.5)
    loss = lambda step: (0 * module.matrix.sum() + 0 * module.bias.sum(), {})  # noqa: E731
    run(tmp_path, schedule, module, loss)
    assert module.matrix.item() == pytest.approx(1 - 0.1 * 0.5)  # learning rate times decay
    assert module.bias.item() == 1.0


def test_the_learning_rate_rises_linearly_and_falls_along_a_cosine(tmp_path: Path) -> None:
    module = Scalars()
    schedule = TowerConfig(steps=12, warmup=4, learning_rate=1.0)
    run(tmp_path, schedule, module, lambda _: (module.bias.sum(), {}))
    rates = [row["learning_rate"] for row in rows(tmp_path)]
    cosine = [0.5 * (1 + math.cos(math.pi * i / 8)) for i in range(8)]
    assert rates == pytest.approx([0.0, 0.25, 0.5, 0.75, *cosine])


def test_the_learning_rate_is_that_of_the_step(tmp_path: Path) -> None:
    module = Scalars()
    schedule = TowerConfig(steps=4, warmup=2, learning_rate=0.1, weight_decay=0.0)
    run(tmp_path, schedule, module, lambda _: (module.bias.sum(), {}))
    # With a constant gradient each step of Adam is as long as the learning rate: 0, 0.05, 0.1, 0.05.
    assert module.bias.item() == pytest.approx(1 - 0.2, abs=1e-4)


def test_a_resumed_stage_goes_on_with_rate_moments_and_rows(tmp_path: Path) -> None:
    schedule = TowerConfig(steps=6, warmup=2, learning_rate=0.1)
    results = {}
    for name, stops in (("whole", []), ("stopped", [1, 4])):
        out = tmp_path / name
        out.mkdir()
        for stop in [*stops, None]:
            module = Scalars()

            def loss_at(
                step: int, module: Scalars = module, stop: int | None = stop
            ) -> tuple[torch.Tensor, dict[str, float]]:
                if step == stop:
                    raise KeyboardInterrupt
                return (step + 1) * module.matrix.sum() ** 2 + module.bias.sum() ** 2, {}

            try:
                run(out, schedule, module, loss_at, every=2)
            except KeyboardInterrupt:
                continue
            results[name] = (module.matrix.item(), module.bias.item())
    assert results["stopped"] == results["whole"]
    logged = [[(row["step"], row["learning_rate"]) for row in rows(tmp_path / n)] for n in results]
    assert logged[0] == logged[1]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_before_it_is_saved(tmp_path: Path, bad: float) -> None:
    module = Scalars()
    losses = [1.0, bad]
    with pytest.raises(TrainingFailure, match=r"step 1 of the tower stage.*--tower\.learning-rate"):
        run(tmp_path, STEADY, module, lambda step: (losses[step] * module.bias.sum(), {}))
    assert load_state(tmp_path / "tower.safetensors", {"m": module}) == 1
    assert math.isfinite(module.bias.item())


@pytest.mark.parametrize("name", ["checkpoint_every", "validation_examples", "threads"])
def test_a_setting_below_one_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidSetting, match=name):
        TrainConfig(data=(), out=tmp_path, **{name: 0})


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
    with pytest.raises(WeightsError, match="training state"):
        load_state(path, {"m": torch.nn.Linear(4, 2)})
