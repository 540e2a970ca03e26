"""What is wrong with a checkpoint is said before, or instead of, a score: expected, got, what to do."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from transformers.utils import logging as transformers_logging

from benchmarks.random_checkpoint import SHAPES, build_config, qwen3_tokenizer
from reward_models.nano import WEIGHTS
from reward_models.qwen3vl import hub, loading, memory, published
from reward_models.qwen3vl.checkpoint import choose_device, find_checkpoint
from reward_models.qwen3vl.loading import read_config
from reward_models.qwen3vl.memory import count_parameters
from reward_models.qwen3vl.roboreward import RoboReward
from roboreward_gym import load_reward_model, registry
from roboreward_gym.errors import InvalidSetting, RewardModelUnavailable, WeightsError
from tests.tiny_vlm import random_clip, write_tiny_checkpoint

COMMIT = published.PUBLISHED["roboreward-4b"].revision + "0" * 32
WIDTH = 32
"""Width of the tiny model."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache as huggingface_hub fills it, holding the 4B's name with small random weights."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--teetone--RoboReward-4B"
    shutil.copytree(folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return tmp_path


def break_copy(folder: Path, target: Path, change: Callable[[Path], object]) -> Path:
    copy = Path(shutil.copytree(folder, target / "copy"))
    change(copy)
    return copy


def write_index(folder: Path) -> None:
    index = {"metadata": {}, "weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def cut(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


CONFIG = "config.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / CONFIG).unlink(), "has no config.json"),
        (lambda f: (f / CONFIG).write_text("{"), "config.json holds no valid JSON"),
        (lambda f: (f / CONFIG).write_text('{"model_type": "llama"}'), "'llama', not 'qwen3_vl'"),
        (lambda f: (f / CONFIG).write_text("[]"), "None, not 'qwen3_vl'"),
        (lambda f: (f / "model.safetensors").unlink(), "lack model.safetensors .1 of 1 files"),
        (write_index, r"lack model-2.safetensors \(1 of 2 files"),
        (cut, "cut off or no safetensors file"),
        (lambda f: (f / "model.safetensors").write_bytes(b"x" * 64), "cut off or no safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b""), "cut off or no safetensors file"),
        (lambda f: (f / "tokenizer.json").unlink(), "There is no tokenizer.json in"),
    ],
)
def test_a_broken_folder_says_what_is_wrong(
    folder: Path, tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        RoboReward(break_copy(folder, tmp_path, change), device="cpu")


@pytest.mark.parametrize("source", ["no/such/folder/here", "/nowhere", "just-a-name", Path("a/b")])
def test_what_is_neither_folder_nor_hub_id_is_named(source: str | Path) -> None:
    with pytest.raises(WeightsError, match="is not a folder with a checkpoint"):
        find_checkpoint(source)


def test_a_folder_has_no_revision(folder: Path) -> None:
    with pytest.raises(WeightsError, match="is a folder and has no revision"):
        find_checkpoint(folder, revision="main")


def test_the_published_4b_is_loaded_by_name_from_the_cache(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.setitem(
        published.PUBLISHED,
        "roboreward-4b",
        dataclasses.replace(published.PUBLISHED["roboreward-4b"], hidden_size=WIDTH),
    )
    model = load_reward_model("roboreward-4b?dtype=bfloat16&device=cpu&attention=eager")
    assert isinstance(model, RoboReward)
    assert model.model.dtype == torch.bfloat16
    assert model._manifest["attention"] == "eager"
    manifest = model.score([random_clip(4)])[0].manifest
    assert manifest["model"] == "roboreward-4b"
    assert manifest["revision"] == COMMIT


@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_a_hub_id_is_found_by_branch_tag_or_commit(cache: Path, revision: str) -> None:
    model = published.load_checkpoint(f"teetone/RoboReward-4B{revision}")
    assert model.score([]) == []
    assert model._manifest["model"] == "teetone/RoboReward-4B"
    assert model._manifest["revision"] == COMMIT


def test_checkpoint_takes_a_folder_whose_name_holds_an_at_sign(
    folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "my@folder")
    assert published.load_checkpoint(str(copy))._manifest["model"] == "my@folder"


@pytest.mark.parametrize("wanted", ["teetone/RoboReward-8B", "teetone/RoboReward-4B@other"])
def test_offline_with_nothing_cached_says_how_to_fetch(cache: Path, wanted: str) -> None:
    with pytest.raises(WeightsError, match=r"in the cache .*hf download teetone/RoboReward"):
        published.load_checkpoint(wanted)


@pytest.mark.parametrize(
    ("wanted", "asked"),
    [("4dec8af8", "4dec8af8" + "a" * 32), ("0badbee", "0badbee"), ("main", "main"), (None, None)],
)
def test_a_short_commit_is_looked_up_because_the_hub_takes_full_ones(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wanted: str | None,
    asked: str | None,
) -> None:
    revisions: list[str | None] = []

    def fetch(source: str, *, revision: str | None, **_: object) -> str:
        revisions.append(revision)
        return str(folder)

    commits = [SimpleNamespace(commit_id=start + "a" * 32) for start in ("4dec8af7", "4dec8af8")]
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "list_repo_commits", lambda source: commits)
    monkeypatch.setattr(hub, "snapshot_download", fetch)
    find_checkpoint("a/b", revision=wanted, cache=tmp_path)
    assert revisions == [asked]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RevisionNotFoundError, "a/b has no revision 'nope'.*checkpoint:a/b@main"),
        (RepositoryNotFoundError, "a/b is not on the hub"),
        (GatedRepoError, "gated repository.*hf auth login"),
        (httpx.ConnectError, "Fetching a/b@nope failed with ConnectError.*Check the network"),
    ],
)
def test_the_hub_says_no(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], message: str
) -> None:
    response = httpx.Response(404, request=httpx.Request("GET", "http://localhost"))

    def refuse(*_: object, **__: object) -> str:
        raise error("no") if error is httpx.ConnectError else error("no", response=response)

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    with pytest.raises(WeightsError, match=message):
        find_checkpoint("a/b", revision="nope")


def test_too_little_memory_is_noticed_before_weights_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the small files are there: the configuration alone says that 8 billion parameters follow."""
    build_config(SHAPES["8b"], qwen3_tokenizer()).save_pretrained(tmp_path)
    monkeypatch.setattr(memory, "bytes_available", lambda _: 12_000_000_000)
    with pytest.raises(RewardModelUnavailable) as caught:
        RoboReward(tmp_path, device="cpu")
    text = str(caught.value)
    assert "8.8 billion parameters as float32) needs 38.6 GB on cpu, where 12.0 GB are free" in text
    assert "dtype=bfloat16 needs 19.3 GB, quantize=int8 needs 11.6 GB" in text
    assert "quantize=int4 needs 8.3 GB" in text


def test_quantization_leaves_embeddings_output_and_tower_in_half_precision() -> None:
    """Weights of the 8B in 4 bits: 7.0 billion in 0.5625 bytes, 1.8 billion in 2."""
    count = count_parameters(build_config(SHAPES["8b"], qwen3_tokenizer()))
    assert count.total == 8_767_123_696
    assert count.quantizable == 36 * (4096 * (2 * 4096 + 2 * 1024) + 3 * 4096 * 12_288)
    weights = count.bytes_needed(torch.bfloat16, "int4") / memory.ACTIVATIONS
    assert weights == pytest.approx(7.55e9, rel=1e-3)


def test_needed_memory_follows_precision(folder: Path) -> None:
    count = count_parameters(read_config(folder))
    assert count.bytes_needed(torch.float32) == pytest.approx(
        2 * count.bytes_needed(torch.bfloat16), abs=2
    )
    assert count.bytes_needed(torch.bfloat16, "int4") < count.bytes_needed(torch.bfloat16, "int8")


@pytest.mark.parametrize("shape", ["tiny", "4b"])
def test_shared_embeddings_are_counted_once(shape: str) -> None:
    config = build_config(SHAPES[shape], qwen3_tokenizer())
    embedding = SHAPES[shape].width * 151_936
    tied = count_parameters(config).total
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    assert count_parameters(config).total - tied == (embedding if SHAPES[shape].tied else 0)


def test_parameters_are_counted_from_the_configuration(folder: Path) -> None:
    model = RoboReward(folder, device="cpu")
    assert count_parameters(read_config(folder)).total == sum(
        p.numel() for p in model.model.parameters()
    )


@pytest.mark.parametrize("name", ["roboreward-4b", "roboreward-8b"])
def test_a_published_name_asks_for_its_own_repository_and_commit(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def load(source: str, *_: object, revision: str, **__: object) -> SimpleNamespace:
        asked.append((source, revision))
        width = {"teetone/RoboReward-4B": 2560, "teetone/RoboReward-8B": 4096}[source]
        config = SimpleNamespace(text_config=SimpleNamespace(hidden_size=width))
        return SimpleNamespace(model=SimpleNamespace(config=config))

    monkeypatch.setattr(published, "load_local", load)
    {"roboreward-4b": published.load_4b, "roboreward-8b": published.load_8b}[name]()
    assert asked == [
        {
            "roboreward-4b": ("teetone/RoboReward-4B", "4dec8af8"),
            "roboreward-8b": (
                "teetone/RoboReward-8B",
                "3a185b4fce2b1253643105be1f234ae618b9732f",
            ),
        }[name]
    ]


def test_the_sizes_of_the_published_models_are_those_of_their_shapes() -> None:
    sizes = {name: model.hidden_size for name, model in published.PUBLISHED.items()}
    assert sizes == {
        "roboreward-4b": SHAPES["4b"].width,
        "roboreward-8b": SHAPES["8b"].width,
    }


def test_another_model_under_a_published_name_is_refused(cache: Path) -> None:
    with pytest.raises(WeightsError, match=r"roboreward-4b has a width of 2560.* has 32"):
        published.load_4b()


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    assert memory.bytes_available(torch.device("cpu")) is None or (
        0 < memory.bytes_available(torch.device("cpu")) < 1e15
    )


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "mps", "xpu"])
def test_a_device_that_is_not_there_is_named(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(RewardModelUnavailable, match=f"no device '{device}', only 1 cpu"):
        choose_device(device)


def test_a_device_that_does_not_exist_at_all_is_a_setting_error() -> None:
    with pytest.raises(InvalidSetting, match="'gpu0'"):
        choose_device("gpu0")


@pytest.mark.parametrize(("name", "value"), [("batch_size", 0), ("decode", "json")])
def test_settings_out_of_range_are_refused(folder: Path, name: str, value: object) -> None:
    with pytest.raises(InvalidSetting, match=repr(value)):
        RoboReward(folder, **{name: value})


def test_quantized_loading_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_installed", lambda name: name != "bitsandbytes")
    with pytest.raises(RewardModelUnavailable, match=r"bitsandbytes.*\.\[quantized\]"):
        RoboReward(folder, device="cpu", quantize="int8")


@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_the_language_model_is_stored_in_few_bits_and_says_nearly_the_same(bits: str) -> None:
    pytest.importorskip("accelerate")
    bitsandbytes = pytest.importorskip("bitsandbytes")
    whole = RoboReward(WEIGHTS, device="cpu", off_format_limit=1.0)
    small = RoboReward(WEIGHTS, device="cpu", off_format_limit=1.0, quantize=bits)
    layers = (bitsandbytes.nn.Linear8bitLt, bitsandbytes.nn.Linear4bit)
    text, tower = small.model.model.language_model, small.model.model.visual
    assert any(isinstance(module, layers) for module in text.modules())
    assert not any(isinstance(module, layers) for module in tower.modules())
    assert not isinstance(small.model.lm_head, layers)
    clips = [random_clip(9, size=(192, 320), seed=seed) for seed in range(4)]
    for a, b in zip(whole.score(clips), small.score(clips), strict=True):
        assert b.manifest["quantize"] == bits
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=0.3)


def test_attention_that_is_not_installed_is_named(folder: Path) -> None:
    with pytest.raises(RewardModelUnavailable, match="attention='flash_attention_2'"):
        RoboReward(folder, device="cpu", attention="flash_attention_2")


def test_weights_go_to_a_gpu_without_a_stop_in_main_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, object] = {}

    def load(*_: object, **options: object) -> None:
        given.update(options)
        raise OSError("no GPU here")

    monkeypatch.setattr(loading.Qwen3VLForConditionalGeneration, "from_pretrained", load)
    monkeypatch.setattr(memory, "bytes_available", lambda _: 10**12)
    with pytest.raises(WeightsError, match="no GPU here"):
        loading.load_model(folder, device=torch.device("cuda", 1))
    assert given["device_map"] == {"": torch.device("cuda", 1)}


def test_loading_draws_no_progress_bar(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    was_shown = transformers_logging.is_progress_bar_enabled()
    RoboReward(folder, device="cpu")
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")
    assert transformers_logging.is_progress_bar_enabled() == was_shown


def test_half_precision_is_taken_when_asked_for(folder: Path) -> None:
    model = RoboReward(folder, device="cpu", dtype=torch.bfloat16, attention="eager")
    assert model.model.dtype == torch.bfloat16
    assert model._manifest["attention"] == "eager"
    assert model.score([random_clip(4)])[0].manifest["dtype"] == "bfloat16"
