"""Whole runs on a tiny model: what comes out, what happens when they are stopped, and what is refused."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from reward_models.commands.train import main
from reward_models.qwen3vl import memory
from reward_models.qwen3vl.roboreward import RoboReward
from reward_models.training import arguments, run
from reward_models.training.arguments import training_arguments
from reward_models.training.config import NAMED, LoraSettings, SftConfig
from reward_models.training.data import open_training_data
from reward_models.training.errors import InvalidTrainingData, TrainingFailure
from reward_models.training.questions import TrainingSet
from reward_models.training.run_folder import begin_or_continue, last_whole_checkpoint
from reward_models.training.trainer import RewardTrainer
from roboreward_gym.errors import InvalidSetting, WeightsError
from tests.reward_folder import write_reward_folder
from tests.tiny_vlm import random_clip, write_tiny_checkpoint

ROOT = Path(__file__).resolve().parents[1]
SIGKILL = -9
SHORT = SftConfig(
    steps=4,
    batch_size=2,
    accumulation=2,
    learning_rate=1e-3,
    precision="float32",
    gradient_checkpointing=False,
    device="cpu",
    validate_every=2,
    log_every=1,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base checkpoint and data."""
    root = tmp_path_factory.mktemp("root")
    write_tiny_checkpoint(root / "base")
    write_reward_folder(root / "train", 8, size=(32, 64))
    write_reward_folder(root / "val", 4, size=(32, 64), split="validation", seed=50)
    return root


def train(root: Path, out: Path, config: SftConfig = SHORT, *, features: bool = True) -> None:
    sets = open_training_data([root / "train", root / "val"], 4)
    folder = root / "features" if features else None
    run.fine_tune(root / "base", config, *sets, out, features=folder)


@pytest.fixture(scope="module")
def whole(root: Path) -> Path:
    """A run that was never stopped."""
    train(root, root / "whole")
    return root / "whole"


def curve(out: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows if "loss" in row]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def test_a_run_leaves_a_checkpoint_that_scores(root: Path, whole: Path) -> None:
    score = RoboReward(whole / "model", off_format_limit=1.0).score([random_clip(9)])[0]
    assert score.level in (1, 2, 3, 4, 5)
    assert [step for step, _ in curve(whole)] == [1, 2, 3, 4]
    before = load_file(root / "base" / "model.safetensors")
    after = weights(whole)
    assert before.keys() == after.keys()
    for name in before:
        frozen = "visual" in name and "merger" not in name
        assert torch.equal(before[name], after[name]) or not frozen, name
    for part in ("language_model", "visual.merger"):
        assert any(not torch.equal(before[n], after[n]) for n in before if part in n), part


def test_pixels_give_the_curve_of_features(root: Path, whole: Path, tmp_path: Path) -> None:
    train(root, tmp_path / "run", features=False)
    losses = [[loss for _, loss in curve(out)] for out in (whole, tmp_path / "run")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_accumulation_gives_the_curve_of_larger_batches(
    root: Path, whole: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(SHORT, batch_size=4, accumulation=1, order="random")
    train(root, tmp_path / "large", config)
    train(root, tmp_path / "small", dataclasses.replace(config, batch_size=1, accumulation=4))
    losses = [[loss for _, loss in curve(tmp_path / name)] for name in ("large", "small")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_gradient_checkpointing_changes_nothing(root: Path, whole: Path, tmp_path: Path) -> None:
    train(root, tmp_path / "run", dataclasses.replace(SHORT, gradient_checkpointing=True))
    assert [loss for _, loss in curve(tmp_path / "run")] == pytest.approx(
        [loss for _, loss in curve(whole)], rel=1e-4
    )


@pytest.mark.parametrize("wanted", [True, False])
def test_gradient_checkpointing_is_on_if_wanted(tmp_path: Path, *, wanted: bool) -> None:
    config = dataclasses.replace(SHORT, gradient_checkpointing=wanted)
    given = training_arguments(config, tmp_path, 1, validate=False, tower=False)
    # Of its two names only the newer one is set by newer versions of transformers.
    names = ("activation_checkpointing", "gradient_checkpointing")
    assert any(getattr(given, name, False) for name in names) == wanted


def test_without_the_projector_it_stays_as_it_was(root: Path, tmp_path: Path) -> None:
    train(root, tmp_path / "run", dataclasses.replace(SHORT, steps=2, projector=False))
    before, after = load_file(root / "base" / "model.safetensors"), weights(tmp_path / "run")
    assert all(torch.equal(before[n], after[n]) for n in before if "visual" in n)
    assert any(not torch.equal(before[n], after[n]) for n in before)


@pytest.mark.parametrize("features", [True, False])
def test_adapters_are_merged_into_the_model(root: Path, tmp_path: Path, *, features: bool) -> None:
    config = dataclasses.replace(SHORT, steps=2, lora=LoraSettings(rank=4))
    train(root, tmp_path / "run", config, features=features)
    before, after = load_file(root / "base" / "model.safetensors"), weights(tmp_path / "run")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("proj" in name or "linear_fc" in name for name in changed)
    assert any("merger" in name for name in changed)


def validate_as(errors: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the validations of a run measure these errors, one after the other."""
    numbers = RewardTrainer._numbers

    def measured(self: RewardTrainer, prediction: Any) -> dict[str, float]:
        return numbers(self, prediction) | {"macro_mae": errors.pop(0)}

    monkeypatch.setattr(RewardTrainer, "_numbers", measured)


def test_the_checkpoint_with_the_lowest_macro_mae_becomes_the_model(
    root: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(SHORT, steps=8)
    validate_as([1.5, 1.0, 1.25, 1.0], monkeypatch)
    train(root, tmp_path / "run", config)
    selected = json.loads((tmp_path / "run" / "selected.json").read_text())
    assert selected == {"step": 4, "steps": 8, "validation_macro_mae": 1.0}
    chosen = load_file(tmp_path / "run/checkpoints/checkpoint-4/model.safetensors")
    last = load_file(tmp_path / "run/checkpoints/checkpoint-8/model.safetensors")
    name = "model.language_model.norm.weight"
    assert torch.equal(weights(tmp_path / "run")[name], chosen[name].half())
    assert not torch.equal(chosen[name], last[name])


def test_a_resumed_run_remembers_the_best_checkpoint_of_before(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = dataclasses.replace(SHORT, steps=6), tmp_path / "run"
    validate_as([1.0, 1.5, 1.25], monkeypatch)
    compute = RewardTrainer.compute_loss

    def stopped(self: RewardTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return compute(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(RewardTrainer, "compute_loss", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(root, out, config)
    train(root, out, config)
    selected = json.loads((out / "selected.json").read_text())
    assert selected == {"step": 2, "steps": 6, "validation_macro_mae": 1.0}


def test_without_validation_the_last_step_becomes_the_model(root: Path, tmp_path: Path) -> None:
    data, _ = open_training_data([root / "train"], 0)
    run.fine_tune(root / "base", SHORT, data, None, tmp_path / "run", features=root / "features")
    selected = json.loads((tmp_path / "run" / "selected.json").read_text())
    assert selected == {"step": 4, "steps": 4, "validation_macro_mae": None}


# Processes


def process(
    root: Path, out: Path, *launcher: str, **settings: Any
) -> subprocess.CompletedProcess[str]:
    short = {
        k: getattr(SHORT, k) for k in ("steps", "learning_rate", "validate_every", "log_every")
    }
    given = short | {"features": True, "batch_size": 2, "accumulation": 2} | settings
    program = ["-m", "tests.train_process", str(root), str(out), json.dumps(given)]
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    return subprocess.run(
        [sys.executable, *launcher, *program],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_curve(root: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert process(root, out, kill_at=3).returncode == SIGKILL
    assert not (out / "model").exists()
    train(root, out)
    assert curve(out) == curve(whole)
    ours, theirs = weights(out), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slow
def test_a_run_killed_while_it_saves_goes_on_from_the_checkpoint_before(
    root: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert process(root, out, kill_saving=4).returncode == SIGKILL
    broken = out / "checkpoints" / "checkpoint-4"
    assert (broken / "model.safetensors").is_file()
    last = last_whole_checkpoint(out)
    assert last is not None
    assert last.name == "checkpoint-2"
    assert not broken.exists()
    train(root, out)
    assert curve(out) == curve(whole)


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_both_go_on_with_the_curve_of_one(
    root: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = process(root, out, *TWO, accumulation=1, kill_at=3, kill_rank=1)
    assert result.returncode != 0
    assert "Signal 9 (SIGKILL)" in result.stderr
    last = last_whole_checkpoint(out)
    assert last is not None
    assert last.name == "checkpoint-2"
    assert process(root, out, *TWO, accumulation=1).returncode == 0
    assert [loss for _, loss in curve(out)] == pytest.approx(
        [loss for _, loss in curve(whole)], rel=1e-3
    )


@pytest.mark.slow
def test_divided_weights_give_the_curve_of_whole_ones_and_resume(
    root: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert process(root, out, *TWO, accumulation=1, fsdp=True, kill_at=3).returncode != 0
    result = process(root, out, *TWO, accumulation=1, fsdp=True)
    assert result.returncode == 0, result.stderr
    assert [loss for _, loss in curve(out)] == pytest.approx(
        [loss for _, loss in curve(whole)], rel=1e-3
    )
    ours, theirs = weights(out), weights(whole)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-2, atol=1e-2)


@pytest.mark.slow
def test_divided_adapters_give_the_curve_of_whole_ones(root: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(SHORT, steps=2, lora=LoraSettings(rank=4))
    train(root, tmp_path / "whole", config)
    out = tmp_path / "run"
    settings = {"accumulation": 1, "steps": 2, "fsdp": True, "lora": {"rank": 4}}
    result = process(root, out, *TWO, **settings)
    assert result.returncode == 0, result.stderr
    assert [loss for _, loss in curve(out)] == pytest.approx(
        [loss for _, loss in curve(tmp_path / "whole")], rel=1e-3
    )
    ours, theirs = weights(out), weights(tmp_path / "whole")
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-2, atol=1e-2)


# Precisions


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=4)], ids=["all weights", "LoRA"])
def test_the_settings_of_the_authors_train_in_half_precision(
    root: Path, tmp_path: Path, lora: LoraSettings | None
) -> None:
    """`mixed`, with gradient checkpointing and batches of similar length: one step on a tiny model in place of 4B."""
    out = tmp_path / "run"
    authors = dataclasses.replace(
        NAMED["roboreward-4b"].sft, steps=1, batch_size=2, accumulation=2, device="cpu", log_every=1
    )
    config = dataclasses.replace(authors, lora=lora, loss=SHORT.loss, learning_rate=1e-3)
    train(root, out, config, features=False)
    train(
        root, tmp_path / "exact", dataclasses.replace(config, precision="float32"), features=False
    )
    half, exact = curve(out)[0][1], curve(tmp_path / "exact")[0][1]
    assert half == pytest.approx(exact, rel=0.02)
    assert half != pytest.approx(exact, rel=1e-5), "computed in float32"
    name = "model" if lora is None else "adapter_model"
    trained = load_file(out / "checkpoints" / "checkpoint-1" / f"{name}.safetensors")
    assert {tensor.dtype for tensor in trained.values()} == {torch.float32}
    assert RoboReward(out / "model", off_format_limit=1.0).score([random_clip(9)])[0].level


def test_bfloat16_keeps_everything_in_half_precision(
    root: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    train(root, out, dataclasses.replace(SHORT, steps=1, precision="bfloat16"))
    assert curve(out)[0][1] == pytest.approx(curve(whole)[0][1], rel=0.02)
    checkpoint = out / "checkpoints" / "checkpoint-1"
    dtypes = {tensor.dtype for tensor in load_file(checkpoint / "model.safetensors").values()}
    assert dtypes == {torch.bfloat16}


# What is refused


def test_a_finished_run_refuses_other_settings_and_data(root: Path, whole: Path) -> None:
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    with pytest.raises(WeightsError, match=r"sft\.learning_rate \(0\.001 then, 0\.1 now\)"):
        train(root, whole, dataclasses.replace(SHORT, learning_rate=0.1))
    data, validation = open_training_data([root / "train", root / "val"], 4)
    fewer = TrainingSet(data.clips, data.questions[1:])
    with pytest.raises(WeightsError, match="data_sha256"):
        run.fine_tune(root / "base", SHORT, fewer, validation, whole)
    train(root, whole)
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before


def test_a_setting_that_one_of_two_runs_lacks_is_another_setting(tmp_path: Path) -> None:
    begin_or_continue(tmp_path, {"kept": 1, "sft": {"gone": 2}, "free": 3})
    begin_or_continue(tmp_path, {"kept": 1, "sft": {"gone": 2}, "free": 4}, free=("free",))
    with pytest.raises(WeightsError, match=r"sft\.gone \(2 then, None now\)"):
        begin_or_continue(tmp_path, {"kept": 1, "sft": {}, "free": 3})
    with pytest.raises(WeightsError, match=r"new \(None then, 5 now\)"):
        begin_or_continue(tmp_path, {"kept": 1, "sft": {"gone": 2}, "free": 3, "new": 5})


def test_other_settings_are_refused_and_said(root: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out, ignore=shutil.ignore_patterns("model"))
    before = sorted(path.name for path in out.rglob("*"))
    with pytest.raises(WeightsError, match=r"sft\.learning_rate \(0\.001 then, 0\.1 now\)"):
        train(root, out, dataclasses.replace(SHORT, learning_rate=0.1))
    assert sorted(path.name for path in out.rglob("*")) == before


def test_what_does_not_change_the_weights_may_change(
    root: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out, ignore=shutil.ignore_patterns("model"))
    train(root, out, dataclasses.replace(SHORT, validation_batch_size=3))
    assert (out / "model").is_dir()


def test_other_data_is_refused(root: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out, ignore=shutil.ignore_patterns("model"))
    data, validation = open_training_data([root / "train", root / "val"], 4)
    fewer = TrainingSet(data.clips, data.questions[1:])
    with pytest.raises(WeightsError, match="data_sha256"):
        run.fine_tune(root / "base", SHORT, fewer, validation, out)


def test_another_architecture_is_refused(root: Path, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(WeightsError, match="of type 'llama'"):
        main(["nano", "--model", str(base), "--data", str(root / "train"), str(root / "val"),
              "--out", str(tmp_path / "run"), "--validation-examples", "4"])  # fmt: skip
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("file", "message"),
    [("processor_config.json", "processor_config.json"), ("tokenizer.json", "tokenizer.json")],
)
def test_missing_processor_files_are_named(
    root: Path, tmp_path: Path, file: str, message: str
) -> None:
    shutil.copytree(root / "base", tmp_path / "base")
    (tmp_path / "base" / file).unlink()
    sets = open_training_data([root / "train", root / "val"], 4)
    with pytest.raises(WeightsError, match=message):
        run.fine_tune(tmp_path / "base", SHORT, *sets, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_fewer_examples_than_a_step_takes_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidTrainingData, match=r"16 training examples, fewer than the 64"):
        train(root, tmp_path / "run", dataclasses.replace(SHORT, batch_size=32))
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_names_its_examples(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = run.RewardTrainer._answer_logits

    def spoiled(self: RewardTrainer, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        scale = float("nan") if self.state.global_step == 2 and self.model.training else 1.0
        return losses(self, model, inputs) * scale

    monkeypatch.setattr(RewardTrainer, "_answer_logits", spoiled)
    with pytest.raises(
        TrainingFailure, match=r"step 3 is nan; its examples are toy-train-0-\d#\d+"
    ):
        train(root, tmp_path / "run")
    last = last_whole_checkpoint(tmp_path / "run")
    assert last is not None
    assert last.name == "checkpoint-2"


def test_a_gradient_that_is_not_finite_names_the_examples_of_its_step(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = RewardTrainer.training_step

    def spoiled(self: RewardTrainer, model: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = step(self, model, *args, **kwargs)
        if self.state.global_step == 2:
            next(p for p in model.parameters() if p.grad is not None).grad.view(-1)[0] = torch.inf
        return loss

    monkeypatch.setattr(RewardTrainer, "training_step", spoiled)
    name = r"toy-train-0-\d#\d+"
    with pytest.raises(
        TrainingFailure,
        match=rf"gradient of step 3 is nan; its examples are {name}(, {name}){{3}}\. ",
    ):
        train(root, tmp_path / "run")
    last = last_whole_checkpoint(tmp_path / "run")
    assert last is not None
    assert last.name == "checkpoint-2"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
        MemoryError("no more"),
    ],
    ids=["GPU", "CPU", "Python"],
)
def test_too_little_memory_says_what_to_lower(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: Any) -> None:
        raise error

    monkeypatch.setattr(RewardTrainer, "_answer_logits", full)
    with pytest.raises(TrainingFailure, match=r"--sft\.batch-size 1 --sft\.accumulation 4.*--plan"):
        train(root, tmp_path / "run")


def test_a_model_that_does_not_fit_says_what_to_lower(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "bytes_available", lambda _: 1000)
    with pytest.raises(
        TrainingFailure,
        match=r"needs .* GB on cpu, where 0\.0 GB are free\. Lower .*--sft\.batch-size 1",
    ) as caught:
        train(root, tmp_path / "run")
    assert "quantize" not in str(caught.value)


def test_wandb_without_a_login_is_refused_before_anything_is_done(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(InvalidSetting, match=r"wandb login.*WANDB_MODE=offline"):
        train(root, tmp_path / "run", dataclasses.replace(SHORT, log_to=("wandb",)))
    assert not (tmp_path / "run").exists()


def test_tensorboard_finds_the_curve_in_the_folder_of_the_run(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(root, out, dataclasses.replace(SHORT, steps=2, log_to=("tensorboard",)))
    (events,) = (out / "tensorboard").rglob("events.out.*")
    assert b"train/loss" in events.read_bytes()
    assert b"eval/macro_mae" in events.read_bytes()


def test_tensorboard_that_is_not_installed_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arguments, "is_tensorboard_available", lambda: False)
    with pytest.raises(InvalidSetting, match=r"needs tensorboardX.*\[train\]"):
        train(root, tmp_path / "run", dataclasses.replace(SHORT, log_to=("tensorboard",)))
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("default")  # the client's own
def test_wandb_logs_offline_into_the_folder_of_the_run(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    wandb.teardown()  # it remembers the environment of the first call in this process
    for name, value in (("MODE", "offline"), ("SILENT", "true"), ("DIR", str(tmp_path / "run"))):
        monkeypatch.setenv(f"WANDB_{name}", value)
    train(root, tmp_path / "run", dataclasses.replace(SHORT, steps=2, log_to=("wandb",)))
    wandb.finish()
    assert list((tmp_path / "run").rglob("*.wandb"))


def test_lora_without_the_projector_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="--no-projector"):
        dataclasses.replace(SHORT, projector=False, lora=LoraSettings())


def test_the_command_trains_on_a_folder(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "nano", "--model", str(root / "base"), "--data", str(root / "train"), str(root / "val"),
        "--out", str(tmp_path / "run"), "--features", str(root / "features"),
        "--validation-examples", "4", "--sft.steps", "2", "--sft.batch-size", "2", "--sft.warmup", "0",
    ]  # fmt: skip
    assert main(arguments) == 0
    assert (tmp_path / "run" / "model" / "tokenizer.json").is_file()
    said = capsys.readouterr().out.splitlines()[-1]
    assert "of 2, validation macro MAE" in said
    assert said.endswith(f"Use it as checkpoint:{tmp_path / 'run' / 'model'}")
    assert main(arguments) == 0  # a finished run is left alone
    assert capsys.readouterr().out == said + "\n"
