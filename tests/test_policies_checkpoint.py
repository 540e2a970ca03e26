from pathlib import Path

import numpy as np
import pytest
import torch

from policies.checkpoint import (
    CHECKPOINT,
    append_metrics,
    keep_lines,
    load_checkpoint,
    open_run,
    save_checkpoint,
)
from policies.errors import RunMismatch
from roboreward_gym.errors import WeightsError

CONFIG = {"folder": Path("a"), "steps": 3, "names": ("x", "y")}


def test_nested_state_comes_back_bit_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    state = {
        "tensors": [torch.randn(3), torch.arange(4)],
        0: {"empty": torch.zeros(0)},
        "scalar": torch.tensor(2.5),
        "rng": rng.bit_generator.state,
        "generator": torch.Generator().manual_seed(5).get_state(),
        "plain": (1, 2.5, None, True, "text", float("-inf")),
    }
    save_checkpoint(tmp_path / "c", state)
    back = load_checkpoint(tmp_path / "c")
    assert list(back) == list(state)
    assert torch.equal(back["tensors"][0], state["tensors"][0])
    assert back["tensors"][1].dtype == torch.int64
    assert back["scalar"].shape == ()
    assert back["rng"] == state["rng"]
    assert torch.equal(back["generator"], state["generator"])
    assert back["plain"] == state["plain"]


def test_optimiser_goes_on_bit_exactly(tmp_path: Path) -> None:
    def step(weight: torch.nn.Parameter, adam: torch.optim.Adam) -> None:
        weight.grad = weight.detach() ** 2
        adam.step()

    first = torch.nn.Parameter(torch.randn(4))
    adam = torch.optim.Adam([first], 0.1, fused=True)
    step(first, adam)
    save_checkpoint(tmp_path / "c", {"w": first, "adam": adam.state_dict()})
    state = load_checkpoint(tmp_path / "c")
    second = torch.nn.Parameter(state["w"])
    other = torch.optim.Adam([second], 0.1, fused=True)
    other.load_state_dict(state["adam"])
    step(first, adam)
    step(second, other)
    assert torch.equal(first, second)


def test_equal_storage_saves_both_tensors(tmp_path: Path) -> None:
    base = torch.arange(6.0)
    save_checkpoint(tmp_path / "c", {"all": base, "part": base[2:4]})
    assert load_checkpoint(tmp_path / "c")["part"].tolist() == [2.0, 3.0]


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"Path cannot be saved"):
        save_checkpoint(tmp_path / "c", {"path": Path("x")})


def test_failed_save_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", {"step": 1})
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path / "c", {"step": object()})
    assert load_checkpoint(tmp_path / "c") == {"step": 1}


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0{}", b"junk" * 100, None])
def test_corrupt_or_missing_checkpoint_says_so(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "c").write_bytes(content)
    with pytest.raises(WeightsError, match="not a complete checkpoint"):
        load_checkpoint(tmp_path / "c")


def test_cut_checkpoint_says_so(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c", {"w": torch.randn(100)})
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:-50])
    with pytest.raises(WeightsError, match="not a complete checkpoint"):
        load_checkpoint(tmp_path / "c")


def test_new_run_has_no_checkpoint_and_saves_its_config(tmp_path: Path) -> None:
    run = tmp_path / "deep" / "run"
    assert open_run(run, CONFIG, resume=False) is None
    assert '"steps": 3' in (run / "config.json").read_text()


def test_run_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    open_run(tmp_path / "r", CONFIG, resume=False)
    assert open_run(tmp_path / "r", CONFIG, resume=True) is None, "cut off before a checkpoint"
    save_checkpoint(tmp_path / "r" / CHECKPOINT, {"step": 2})
    assert open_run(tmp_path / "r", CONFIG, resume=True) == {"step": 2}


def test_run_of_another_config_is_refused_by_name(tmp_path: Path) -> None:
    open_run(tmp_path / "r", CONFIG, resume=False)
    with pytest.raises(RunMismatch, match=r"steps 3 \(now 4\)"):
        open_run(tmp_path / "r", {**CONFIG, "steps": 4}, resume=True)


def test_run_is_not_overwritten_unasked(tmp_path: Path) -> None:
    open_run(tmp_path / "r", CONFIG, resume=False)
    with pytest.raises(RunMismatch, match="Resume it"):
        open_run(tmp_path / "r", CONFIG, resume=False)


def test_metrics_after_the_checkpoint_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    for episode in range(3):
        append_metrics(path, {"episode": episode, "level": float("nan")})
    keep_lines(path, 2)
    assert path.read_text().splitlines() == [
        '{"episode": 0, "level": null}',
        '{"episode": 1, "level": null}',
    ]


def test_metrics_survive_a_kill_while_they_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in range(3):
        append_metrics(path, {"step": step})
    before, write = path.read_text(), Path.write_text

    def killed(file: Path, text: str) -> None:
        write(file, text[:3])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            keep_lines(path, 2)
    assert path.read_text() == before
