"""From a checkpoint of the trainer to a model folder: in one file or in several, and never with weights that are lacking."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from reward_models.qwen3vl.loading import load_model
from reward_models.training.export import write_model
from roboreward_gym.errors import WeightsError
from tests.tiny_vlm import write_tiny_checkpoint

NORM = "model.language_model.norm.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("export") / "base")


@pytest.fixture
def checkpoint(base: Path, tmp_path: Path) -> Path:
    """A checkpoint of several files, as those of the 4B and 8B are, with a changed norm."""
    model = load_model(base, torch.float32)
    with torch.no_grad():
        model.model.language_model.norm.weight.add_(1.0)
    model.save_pretrained(tmp_path / "checkpoint", max_shard_size="50KB")
    return tmp_path / "checkpoint"


def files(checkpoint: Path) -> list[Path]:
    return sorted(checkpoint.glob("model*.safetensors"))


def test_all_files_of_a_checkpoint_go_into_the_model(
    base: Path, checkpoint: Path, tmp_path: Path
) -> None:
    assert len(files(checkpoint)) > 2
    write_model(base, checkpoint, tmp_path / "model")
    before, after = (load_model(f, torch.float32).state_dict() for f in (base, tmp_path / "model"))
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {NORM}
    assert (tmp_path / "model" / "tokenizer.json").is_file()


def test_a_checkpoint_without_one_of_its_files_becomes_no_model(
    base: Path, checkpoint: Path, tmp_path: Path
) -> None:
    holder = next(file for file in files(checkpoint) if NORM in load_file(file))
    holder.unlink()
    with pytest.raises(WeightsError, match=r"checkpoint lacks .*\. Choose another"):
        write_model(base, checkpoint, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_checkpoint_without_weights_becomes_no_model(base: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="empty lacks"):
        write_model(base, tmp_path / "empty", tmp_path / "model")


@pytest.mark.parametrize("tensors", [{"other.weight": torch.ones(2)}, {NORM: torch.ones(3)}])
def test_weights_of_another_model_are_refused(
    base: Path, checkpoint: Path, tmp_path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    save_file(tensors, checkpoint / "model-other.safetensors")
    with pytest.raises(WeightsError, match=r"model-other\.safetensors is of another model"):
        write_model(base, checkpoint, tmp_path / "model")
