"""Find a checkpoint on disk or on the hub, check it before it is read, and load it."""

import hashlib
import importlib.util
import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import torch
from huggingface_hub import constants, list_repo_commits, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError
from transformers import BitsAndBytesConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from reward_models.qwen3vl.memory import INDEX, check_memory, parameter_count
from roboreward_gym.errors import InvalidSetting, RewardModelUnavailable, WeightsError

MODEL_TYPE = "qwen3_vl"
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")
SHORT_COMMIT = re.compile(r"[0-9a-f]{7,39}")
SHA256 = re.compile(r"[0-9a-f]{64}")
SMALL_FILES = ("*.json", "*.jinja", "*.txt")
ADVICE = "Point to a complete Qwen3-VL checkpoint folder, or fetch it again."

Quantization = Literal["int8", "int4"]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint folder that was found.

    Attributes:
        folder: Where its files lie.
        name: The folder's name, or the hub id.
        revision: Commit of the hub, or None for a local folder.
    """

    folder: Path
    name: str
    revision: str | None = None


def find_checkpoint(
    source: Path | str,
    *,
    revision: str | None = None,
    offline: bool = False,
    cache: Path | None = None,
    weights: bool = True,
) -> Checkpoint:
    """Return a local folder, or fetch a hub id into the cache of huggingface_hub.

    Args:
        source: Folder, or `owner/name` on the hub.
        revision: Branch, tag or commit on the hub, of which seven digits do; not for folders.
        offline: Take what the cache holds and ask nobody; `HF_HUB_OFFLINE=1` does the same.
        cache: Folder of the cache; that of huggingface_hub by default.
        weights: Also fetch the weights, and not only the small files.

    Raises:
        WeightsError: There is no such checkpoint, or it cannot be fetched.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise WeightsError(
                f"Expected no revision for the folder {folder}, got {revision!r}. "
                "Revisions belong to hub ids: leave it out."
            )
        return Checkpoint(folder, folder.resolve().name)
    if isinstance(source, Path) or not HUB_ID.fullmatch(source):
        raise WeightsError(
            f"Expected a checkpoint with config.json in {source}, got none. {ADVICE}"
        )
    patterns = [*SMALL_FILES, "*.safetensors"] if weights else list(SMALL_FILES)
    offline = offline or constants.HF_HUB_OFFLINE
    found = _cached_commit(source, revision, cache)
    try:
        path = snapshot_download(
            source,
            revision=found if offline else _full_commit(source, found),
            cache_dir=cache,
            allow_patterns=patterns,
            local_files_only=offline,
        )
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise WeightsError(_why_not_fetched(source, revision, error)) from error
    commit = Path(path).name
    return Checkpoint(Path(path), source, commit if COMMIT.fullmatch(commit) else revision)


def _cached_commit(source: str, revision: str | None, cache: Path | None) -> str | None:
    """The full commit in the cache that a short one means; the revision itself otherwise."""
    root = Path(cache or constants.HF_HUB_CACHE) / f"models--{source.replace('/', '--')}"
    if revision is None or (root / "refs" / revision).is_file():
        return revision
    commits = [path.name for path in (root / "snapshots").glob(f"{revision}*")]
    return commits[0] if len(commits) == 1 else revision


def _full_commit(source: str, revision: str | None) -> str | None:
    """The commit on the hub that a short one means, because the hub itself takes full ones only."""
    if revision is None or not SHORT_COMMIT.fullmatch(revision):
        return revision
    commits = [commit.commit_id for commit in list_repo_commits(source)]
    meant = [commit for commit in commits if commit.startswith(revision)]
    return meant[0] if len(meant) == 1 else revision  # else a branch or a tag, or the hub's error


def _why_not_fetched(source: str, revision: str | None, error: Exception) -> str:
    wanted = f"{source}@{revision}" if revision else source
    if isinstance(error, RevisionNotFoundError):
        return (
            f"Expected the revision {revision!r} of {source}, got none of that name on the hub. Name a "
            f"branch, a tag or a full commit: checkpoint:{source}@main"
        )
    if isinstance(error, GatedRepoError):
        return (
            f"Expected {wanted} to be open, got a gated repository. Accept its terms on its page and run: "
            "hf auth login"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"Expected {source} on the hub, got no such repository, or a private one. Check the spelling; "
            "for a folder give an existing path; for a private one run: hf auth login"
        )
    if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
        return (
            f"Expected {wanted} in the cache {constants.HF_HUB_CACHE}, got nothing and may or can not ask the "
            f"hub. With a network run once: hf download {source}"
            + (f" --revision {revision}" if revision else "")
            + ", without HF_HUB_OFFLINE; or copy the folder here and name it."
        )
    return (
        f"Expected to fetch {wanted}, got {type(error).__name__}: {error}. Check the network, or copy the "
        "folder here and name it."
    )


def check_folder(folder: Path) -> None:
    """Check the small files of a checkpoint, and that no weight file of its index is missing.

    Raises:
        WeightsError: The folder is incomplete, or holds another kind of model.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise WeightsError(
            f"Expected a checkpoint with {config.name} in {folder}, got none. {ADVICE}"
        )
    model_type = _read_json(config).get("model_type")
    if model_type != MODEL_TYPE:
        raise WeightsError(
            f"Expected a model of type {MODEL_TYPE!r} in {folder}, got {model_type!r}. {ADVICE}"
        )


def check_weight_files(folder: Path) -> None:
    """Check that every weight file is there.

    Raises:
        WeightsError: Some are missing.
    """
    index = folder / INDEX
    if index.is_file():
        wanted = set(_read_json(index).get("weight_map", {}).values())
    else:
        wanted = {"model.safetensors"}
    missing = sorted(name for name in wanted if not (folder / name).is_file())
    if missing or not wanted:
        raise WeightsError(
            f"Expected readable weights in {folder}, got no {', '.join(missing) or 'weight map'} "
            f"({len(missing)} of {len(wanted)} files missing). {ADVICE}"
        )


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"Expected JSON in {path}, got: {error}. {ADVICE}") from error
    return content if isinstance(content, dict) else {}


def choose_device(device: str | torch.device) -> torch.device:
    """Return a device that exists; `auto` is CUDA, else Apple's GPU, else the CPU.

    Raises:
        RewardModelUnavailable: This machine does not have it.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if device == "auto":
        return torch.device("cuda" if cuda else "mps" if mps else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InvalidSetting(f"Expected a device such as 'cuda:0', got {device!r}.") from error
    present = {"cpu": 1, "cuda": torch.cuda.device_count() if cuda else 0, "mps": int(mps)}
    if (chosen.index or 0) >= present.get(chosen.type, 0):
        there = ", ".join(f"{count} {kind}" for kind, count in present.items() if count)
        raise RewardModelUnavailable(
            f"Expected the device {str(chosen)!r}, got {there} on this machine. Pass device='auto', or "
            "install a torch that supports it; `roboreward doctor` shows what torch sees."
        )
    return chosen


def choose_dtype(dtype: torch.dtype | None, device: torch.device, folder: Path) -> torch.dtype:
    """Return the wanted precision; by default float32 on the CPU and the checkpoint's own elsewhere."""
    if dtype is not None:
        return dtype
    if device.type == "cpu":
        return torch.float32
    config = _read_json(folder / "config.json")
    stored = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    return getattr(torch, str(stored), torch.bfloat16)


def load_checkpoint(
    folder: Path,
    dtype: torch.dtype | None = None,
    *,
    device: torch.device | None = None,
    attention: str | None = None,
    quantization: Quantization | None = None,
) -> tuple[Qwen3VLForConditionalGeneration, Qwen3VLProcessor]:
    """Load model and processor from local files only, after checking that they are whole and fit.

    Args:
        folder: Complete checkpoint folder.
        dtype: Precision; that of the checkpoint by default.
        device: Where to; the CPU by default.
        attention: Attention implementation of transformers, such as `flash_attention_2`.
        quantization: Store the language model in 8 or 4 bits; needs the extra `quantized`.

    Raises:
        WeightsError: The folder is missing, incomplete, corrupt, or holds another kind of model.
        RewardModelUnavailable: Too little memory, or a library that is asked for is not installed.
    """
    device = device or torch.device("cpu")
    check_folder(folder)
    check_weight_files(folder)
    target = choose_dtype(dtype, torch.device("meta"), folder)
    check_memory(folder.name, parameter_count(folder), device, target, quantization)
    options: dict[str, Any] = {"dtype": dtype or "auto", "attn_implementation": attention}
    if quantization is not None:
        options |= {"quantization_config": _quantized(quantization), "device_map": {"": device}}
    try:
        model, report = Qwen3VLForConditionalGeneration.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **{key: value for key, value in options.items() if value is not None},
        )
        processor = Qwen3VLProcessor.from_pretrained(folder, local_files_only=True)
    except ImportError as error:
        raise RewardModelUnavailable(
            f"Expected what attention={attention!r} and quantization={quantization!r} need, got: {error}. "
            "Install it, or leave the option out."
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise WeightsError(
            f"Expected readable weights in {folder}, got: {error}. {ADVICE}"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        # transformers would go on with random numbers in their place.
        raise WeightsError(
            f"Expected all weights in {folder}, got none for {missing[:3]} ({len(missing)} missing). {ADVICE}"
        )
    return (model if quantization else model.to(device)), processor


def _quantized(quantization: Quantization) -> BitsAndBytesConfig:
    missing = [name for name in ("accelerate", "bitsandbytes") if not _installed(name)]
    if missing:
        raise RewardModelUnavailable(
            f"Expected {' and '.join(missing)} for quantization={quantization!r}, not installed. "
            "Run: pip install 'roboreward-gym[quantized]'"
        )
    # The tower and the head are a small part of the weights and a large part of the answer.
    kept = {"llm_int8_skip_modules": ["model.visual", "lm_head"]}
    if quantization == "int8":
        # It says of every layer, at every call, that it computes in half precision.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True, **kept)
    compute = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}
    return BitsAndBytesConfig(load_in_4bit=True, **compute, **kept)


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def weights_sha256(folder: Path) -> str:
    """Fingerprint of all weight files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(bytes.fromhex(_file_sha256(path)))
    return digest.hexdigest()


def _file_sha256(path: Path) -> str:
    stored = path.resolve().name
    if path.is_symlink() and SHA256.fullmatch(stored):
        return (
            stored  # The hub's cache names large files by their hash; reading 17 GB takes a minute.
        )
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
