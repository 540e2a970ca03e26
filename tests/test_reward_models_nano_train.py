"""Both stages of nano's training on a tiny model: what is trained, on what, and which weights come out."""

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from reward_models.bench.measure import measure
from reward_models.bench.questions import from_reward_data
from reward_models.data.reward_data import InvalidData, RewardData
from reward_models.nano.config import LANGUAGE, QuestionConfig, TowerConfig, TrainConfig
from reward_models.nano.model import build_config, build_model, build_processor, save
from reward_models.nano.questions import vocabulary
from reward_models.nano.stages import train
from reward_models.nano.tokenizer import build_tokenizer
from reward_models.nano.tower import TowerBatch, TowerBatches, make_head
from reward_models.qwen3vl.loading import load_model
from reward_models.qwen3vl.roboreward import RoboReward
from reward_models.training.config import LossConfig, SftConfig
from reward_models.training.data import choose_validation
from reward_models.training.trainer import RewardTrainer
from roboreward_gym.errors import InvalidSetting, WeightsError
from tests.reward_folder import write_reward_folder
from tests.tiny_vlm import TINY, enliven, random_clip

ROOT = Path(__file__).parents[1]


def language(**changes: Any) -> SftConfig:
    """Settings of a short language stage."""
    short = {"steps": 4, "batch_size": 3, "warmup": 2, "validate_every": 2, "log_every": 1}
    return dataclasses.replace(LANGUAGE, **(short | changes))


FROZEN = language(steps=1, batch_size=2, learning_rate=0.0, warmup=0)
"""One step that changes nothing, so that what comes out is what training began with."""


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
        language=language(),
        threads=1,
        checkpoint_every=2,
        validation_examples=4,
    )
    return dataclasses.replace(config, **changes)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def curve(out: Path) -> list[tuple[int, float]]:
    """Steps and losses of the language stage."""
    rows = rows_of(out / "language")
    return [(row["step"], row["loss"]) for row in rows if "loss" in row]


@pytest.fixture(scope="module")
def run(folders: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    train(config_for(folders, out))
    return out


def test_a_run_leaves_a_checkpoint_that_scores(run: Path) -> None:
    score = RoboReward(run / "model", off_format_limit=1.0).score([random_clip(9)])[0]
    assert score.level in (1, 2, 3, 4, 5)
    assert [row["step"] for row in rows_of(run)] == [2, 4]
    assert [step for step, _ in curve(run)] == [1, 2, 3, 4]
    validations = [row for row in rows_of(run / "language") if "eval_macro_mae" in row]
    assert [row["step"] for row in validations] == [2, 4]


def test_the_language_stage_leaves_the_tower_alone(run: Path) -> None:
    before, after = (load_file(run / part / "model.safetensors") for part in ("base", "model"))
    tower = [name for name in before if "visual" in name and "merger" not in name]
    assert tower
    assert all(torch.equal(before[name], after[name]) for name in tower)
    for part in ("language_model", "visual.merger"):
        names = [name for name in before if part in name]
        assert any(not torch.equal(before[name], after[name]) for name in names), part


def stop_language_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the language stage be interrupted when it computes the loss of a step, counted from 0."""
    compute = RewardTrainer.compute_loss

    def interrupted(self: RewardTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.model.training and self.state.global_step == step:
            raise KeyboardInterrupt
        return compute(self, *args, **kwargs)

    monkeypatch.setattr(RewardTrainer, "compute_loss", interrupted)


@pytest.mark.parametrize("step", [1, 3])
def test_a_stopped_run_goes_on_to_the_same_weights_and_rows(
    run: Path,
    folders: tuple[Path, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    config = config_for(folders, tmp_path / "run")
    stop_language_at(step, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    assert not (tmp_path / "run" / "model").exists()
    monkeypatch.undo()
    train(config)
    a, b = (load_file(f / "model/model.safetensors") for f in (run, tmp_path / "run"))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert (run / "selected.json").read_text() == (tmp_path / "run/selected.json").read_text()
    assert curve(tmp_path / "run") == curve(run)


def test_a_stopped_tower_goes_on_to_the_same_weights(
    run: Path, folders: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_for(folders, tmp_path / "run", stage="tower")
    draw = TowerBatches.__getitem__

    def interrupted(self: TowerBatches, index: int) -> TowerBatch:
        if self.steps[index] == 3:
            raise KeyboardInterrupt
        return draw(self, index)

    monkeypatch.setattr(TowerBatches, "__getitem__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    monkeypatch.undo()
    train(config)
    stopped, whole = (f / "tower.safetensors" for f in (tmp_path / "run", run))
    assert stopped.read_bytes() == whole.read_bytes()


def test_batches_that_are_prepared_ahead_change_nothing(
    run: Path, folders: tuple[Path, ...], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    train(config_for(folders, out, workers=2))
    assert (out / "tower.safetensors").read_bytes() == (run / "tower.safetensors").read_bytes()
    assert curve(out) == curve(run)


def test_another_run_can_lend_its_tower(
    run: Path, folders: tuple[Path, ...], tmp_path: Path
) -> None:
    out = tmp_path / "no-negatives"
    asked = QuestionConfig(negatives=False)
    train(config_for(folders, out, tower_from=run, language=language(steps=2), questions=asked))
    lent, used = (load_file(f / "model.safetensors") for f in (run / "base", out / "model"))
    tower = [name for name in lent if "visual" in name and "merger" not in name]
    assert all(torch.equal(lent[name], used[name]) for name in tower)
    assert not (out / "base").exists()


@pytest.mark.slow
def test_two_processes_train_as_one_does(
    run: Path, folders: tuple[Path, ...], tmp_path: Path
) -> None:
    out = tmp_path / "two"
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "reward_models.nano.train", "--data", *map(str, folders), f"--out={out}", "--threads=1",
         "--stage=language", f"--tower-from={run}", "--validation-examples=4", "--language.steps=4",
         "--language.batch-size=2", "--language.warmup=2", "--language.validate-every=2",
         "--language.log-every=1"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    four = language(batch_size=4)
    alone = config_for(folders, tmp_path / "one", tower_from=run, stage="language", language=four)
    train(alone)
    assert [loss for _, loss in curve(out)] == pytest.approx(
        [loss for _, loss in curve(tmp_path / "one")], rel=1e-3
    )
    assert (out / "selected.json").is_file()


def test_several_processes_do_not_train_the_tower(
    folders: tuple[Path, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InvalidSetting, match="Run this with --stage tower"):
        train(config_for(folders, tmp_path / "run"))


def test_a_folder_of_another_configuration_is_refused(run: Path, folders: tuple[Path, ...]) -> None:
    with pytest.raises(WeightsError, match="seed"):
        train(config_for(folders, run, seed=7))


def test_the_language_stage_may_still_change_after_the_tower(
    folders: tuple[Path, ...], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    train(config_for(folders, out, stage="tower"))
    train(config_for(folders, out, language=language(steps=2)))
    assert json.loads((out / "selected.json").read_text())["steps"] == 2
    assert json.loads((out / "config.json").read_text())["language"]["steps"] == 2
    (out / "model").rename(tmp_path / "model")
    with pytest.raises(WeightsError, match=r"sft\.steps \(2 then, 3 now\)"):
        train(config_for(folders, out, language=language(steps=3)))


def test_a_finished_run_refuses_another_language_stage(
    run: Path, folders: tuple[Path, ...]
) -> None:
    before = (run / "config.json").read_text()
    with pytest.raises(WeightsError, match=r"sft\.steps \(4 then, 3 now\)"):
        train(config_for(folders, run, language=language(steps=3)))
    assert (run / "config.json").read_text() == before
    train(config_for(folders, run))  # the same is left alone


def test_data_without_validation_is_enough(
    folders: tuple[Path, ...], tmp_path: Path, run: Path
) -> None:
    out = tmp_path / "run"
    train(config_for(folders[:1], out, tower_from=run, language=language(steps=1)))
    assert (out / "model" / "config.json").is_file()
    selected = json.loads((out / "selected.json").read_text())
    assert selected == {"step": 1, "steps": 1, "validation_macro_mae": None}


@pytest.fixture(scope="module")
def lively(folders: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose untrained model gives different clips different levels."""
    run = tmp_path_factory.mktemp("lively")
    tokenizer = build_tokenizer(vocabulary(RewardData.open(folders, "train")))
    model = build_model(build_config(TINY, tokenizer), seed=0)
    enliven(model)
    save(model, build_processor(tokenizer), run / "base")
    return run


def test_validation_measures_the_weights_on_the_pixels_of_the_validation_split(
    folders: tuple[Path, ...], lively: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    train(config_for(folders, out, validation_examples=100, tower_from=lively, language=FROZEN))
    validation = RewardData.open(folders, "validation")
    model = RoboReward(out / "model", off_format_limit=1.0)
    scores = model.score([validation.clip(e.clip, e.task) for e in validation.examples])
    assert len({s.level for s in scores}) > 1, "a constant would not tell one split from another"
    measured = measure(model, from_reward_data(validation))
    (row,) = [row for row in rows_of(out / "language") if "eval_macro_mae" in row]
    for name in ("macro_mae", "level_macro_mae", "false_positive_rate"):
        assert row[f"eval_{name}"] == pytest.approx(measured[name]), name


def test_validation_looks_at_every_kind_whatever_the_length_of_the_training(tmp_path: Path) -> None:
    # Own task, other task, own task, ...: any regular stride of two would see one kind only.
    folder = write_reward_folder(tmp_path / "val", 60, split="validation", size=(32, 64))
    data = RewardData.open([folder], "validation")
    for count in (24, 30, 60):
        chosen = choose_validation(data.subsets, count)
        kinds = Counter(data.subsets[i] for i in chosen)
        assert len(chosen) == count
        assert set(kinds) == set(data.subsets)
        assert kinds["toy-counterfactual"] >= count // 3
    again = choose_validation(data.subsets, 24)
    np.testing.assert_array_equal(choose_validation(data.subsets, 24), again)


def test_too_few_validation_examples_are_refused(folders: tuple[Path, ...]) -> None:
    data = RewardData.open(folders, "validation")
    with pytest.raises(InvalidSetting, match=r"validation_examples is 1.*Choose \d or more"):
        choose_validation(data.subsets, 1)


def test_splits_that_share_seeds_are_not_trained_on(
    folders: tuple[Path, ...], tmp_path: Path
) -> None:
    leaking = write_reward_folder(tmp_path / "val", 3, size=(32, 64), split="validation", seed=2)
    with pytest.raises(InvalidData, match="share the seed"):
        train(config_for((folders[0], leaking), tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_data_of_other_splits_alone_is_refused(folders: tuple[Path, ...], tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="split 'train'"):
        train(config_for(folders[1:], tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_tower_stage_begins_with_the_weights_it_is_given(
    run: Path, folders: tuple[Path, ...], tmp_path: Path
) -> None:
    frozen = TowerConfig(steps=1, batch_size=2, learning_rate=0.0, warmup=0, shift_px=2)
    out = tmp_path / "run"
    init = run / "tower.safetensors"
    train(config_for(folders, out, stage="tower", tower=frozen, tower_init=init, seed=9))
    given, began = (load_file(f / "base" / "model.safetensors") for f in (run, out))
    visual = [name for name in given if "visual" in name]
    assert all(torch.equal(given[name], began[name]) for name in visual)


def test_a_language_stage_begins_with_the_weights_it_is_given(
    run: Path, folders: tuple[Path, ...], tmp_path: Path
) -> None:
    out, init = tmp_path / "run", run / "model"
    train(config_for(folders, out, tower_from=run, language=FROZEN, language_init=init))
    given, base, began = (
        load_file(f / "model.safetensors") for f in (init, run / "base", out / "model")
    )
    for part in ("language_model", "merger"):
        names = [name for name in base if part in name]
        assert any(not torch.equal(base[name], given[name]) for name in names), part
        assert all(torch.equal(given[name], began[name]) for name in names), part
    tower = [name for name in base if "visual.blocks" in name]
    assert tower
    assert all(torch.equal(base[name], began[name]) for name in tower)


@pytest.mark.parametrize(
    ("text_weight", "shares", "changes"),
    [
        (0.0, ((1.0, 1.0), (0.0, 0.0)), False),  # descriptions that weigh nothing
        (0.5, ((1.0, 1.0), (0.0, 0.0)), True),
        (0.5, ((0.0, 0.0), (1.0, 1.0)), True),  # locations
        (0.0, ((0.0, 0.0), (0.0, 0.0)), True),  # the digits of scores weigh 1 whatever words weigh
    ],
    ids=["weightless descriptions", "descriptions", "locations", "scores"],
)
def test_every_kind_of_answer_trains_the_model_by_its_weight(
    run: Path,
    folders: tuple[Path, ...],
    tmp_path: Path,
    text_weight: float,
    shares: tuple[tuple[float, float], tuple[float, float]],
    *,
    changes: bool,
) -> None:
    describe, locate = shares
    settings = language(
        steps=2, batch_size=4, warmup=0, weight_decay=0.0, loss=LossConfig(text=text_weight)
    )
    asked = QuestionConfig(describe_share=describe, locate_share=locate)
    out = tmp_path / "run"
    train(config_for(folders[:1], out, tower_from=run, language=settings, questions=asked))
    before, after = (load_file(f / "model.safetensors") for f in (run / "base", out / "model"))
    same = all(torch.equal(before[name], after[name]) for name in before)
    assert same == (not changes)


def weights_by_seed(out: Path, part: str, **settings: Any) -> list[dict[str, torch.Tensor]]:
    """Weights of runs with the seeds 0, 0 and 1."""
    weights = []
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        train(config_for(out=out / name, seed=seed, **settings))
        weights.append(load_file(out / name / part / "model.safetensors"))
    return weights


def test_the_seed_decides_the_first_weights(folders: tuple[Path, ...], tmp_path: Path) -> None:
    frozen = TowerConfig(steps=1, batch_size=2, learning_rate=0.0, warmup=0, shift_px=2)
    first, again, other = weights_by_seed(
        tmp_path, "base", folders=folders, stage="tower", tower=frozen
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    for name in ("language_model.embed_tokens.weight", "visual.merger.linear_fc1.weight"):
        assert not torch.equal(first[f"model.{name}"], other[f"model.{name}"])


def test_the_seed_decides_the_questions(
    run: Path, folders: tuple[Path, ...], tmp_path: Path
) -> None:
    settings = language(steps=2, batch_size=3, warmup=0)
    first, again, other = weights_by_seed(
        tmp_path, "model", folders=folders[:1], tower_from=run, language=settings
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_tower_and_its_head_are_trained_together(run: Path, folders: tuple[Path, ...]) -> None:
    data = RewardData.open(folders, "train")
    model = load_model(run / "base", torch.float32)
    untrained = make_head(model.model.visual, len(data.landmarks), seed=0)
    trained = load_file(run / "tower.safetensors")
    assert not torch.equal(trained["head/weight"], untrained.weight)
    assert not torch.equal(trained["head/bias"], untrained.bias)


def test_the_tower_is_trained_by_its_settings(folders: tuple[Path, ...], tmp_path: Path) -> None:
    weights = {}
    for weight in (1.0, 30.0):
        tower = TowerConfig(steps=2, batch_size=2, warmup=0, shift_px=2, positive_weight=weight)
        out = tmp_path / str(weight)
        train(config_for(folders[:1], out, stage="tower", tower=tower))
        weights[weight] = load_file(out / "base" / "model.safetensors")
    assert any(not torch.equal(weights[1.0][name], weights[30.0][name]) for name in weights[1.0])
