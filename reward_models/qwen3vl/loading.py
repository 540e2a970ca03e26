"""Find a checkpoint on disk or on the hub, check it before it is read, and load it."""

import hashlib
import importlib.util
import json
import logging
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from safetensors import SafetensorError, safe_open
from transformers import (
    BitsAndBytesConfig,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.utils import logging as transformers_logging

from reward_models.model_options import Quantization
from reward_models.protocol.frames import MERGE, PATCH, TEMPORAL_PATCH
from reward_models.qwen3vl.memory import KEPT_PRECISE, check_memory, count_parameters
from roboreward_gym.errors import (
    InvalidSetting,
    RewardModelUnavailable,
    WeightsError,
    install_advice,
)

MODEL_TYPE = "qwen3_vl"
INDEX = "model.safetensors.index.json"
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
COMMIT = re.compile(r"[0-9a-f]{40}")
SHORT_COMMIT = re.compile(r"[0-9a-f]{7,39}")
SHA256 = re.compile(r"[0-9a-f]{64}")
SMALL_FILES = ("*.json", "*.jinja", "*.txt")
ADVICE = "Point to a complete Qwen3-VL checkpoint folder, or fetch it again."


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
                f"{folder} is a folder and has no revision {revision!r}. "
                "Revisions belong to hub ids: leave it out."
            )
        return Checkpoint(folder, folder.resolve().name)
    if isinstance(source, Path) or not HUB_ID.fullmatch(source):
        raise WeightsError(f"{source} is no folder with a checkpoint. {ADVICE}")
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
            f"{source} has no revision {revision!r} on the hub. Name a branch, a tag or a full commit: "
            f"checkpoint:{source}@main"
        )
    if isinstance(error, GatedRepoError):
        return (
            f"{wanted} is a gated repository. Accept its terms on its page and run: hf auth login"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{source} is not on the hub, or is private. Check the spelling; "
            "for a folder give an existing path; for a private one run: hf auth login"
        )
    if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
        return (
            f"{wanted} is not in the cache {constants.HF_HUB_CACHE}, and the hub cannot be reached or may "
            f"not be asked. With a network run once: hf download {source}"
            + (f" --revision {revision}" if revision else "")
            + ", without HF_HUB_OFFLINE; or copy the folder here and name it."
        )
    return (
        f"Fetching {wanted} failed with {type(error).__name__}: {error}. Check the network, or copy the "
        "folder here and name it."
    )


def check_folder(folder: Path) -> None:
    """Check the small files of a checkpoint, and that no weight file of its index is missing.

    Raises:
        WeightsError: The folder is incomplete, or holds another kind of model.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise WeightsError(f"{folder} has no {config.name}, so it is no checkpoint. {ADVICE}")
    model_type = _read_json(config).get("model_type")
    if model_type != MODEL_TYPE:
        raise WeightsError(
            f"The model in {folder} is of type {model_type!r}, not {MODEL_TYPE!r}. {ADVICE}"
        )


def check_weight_files(folder: Path) -> None:
    """Check that every weight file is there and whole, by their headers.

    Raises:
        WeightsError: Some are missing, cut off or of another kind.
    """
    index = folder / INDEX
    if index.is_file():
        wanted = set(_read_json(index).get("weight_map", {}).values())
    else:
        wanted = {"model.safetensors"}
    missing = sorted(name for name in wanted if not (folder / name).is_file())
    if missing or not wanted:
        raise WeightsError(
            f"The weights in {folder} lack {', '.join(missing) or 'a weight map'} "
            f"({len(missing)} of {len(wanted)} files missing). {ADVICE}"
        )
    for name in sorted(wanted):
        try:
            with safe_open(folder / name, "pt"):
                pass  # opening it compares the header with the length of the file
        except (SafetensorError, OSError, ValueError) as error:
            raise WeightsError(
                f"{name} in {folder} is cut off or no safetensors file: {error}. Fetch it again."
            ) from error


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path} holds no valid JSON: {error}. {ADVICE}") from error
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
        raise InvalidSetting(f"{device!r} is no device. Pass one such as 'cuda:0'.") from error
    present = {"cpu": 1, "cuda": torch.cuda.device_count() if cuda else 0, "mps": int(mps)}
    if (chosen.index or 0) >= present.get(chosen.type, 0):
        there = ", ".join(f"{count} {kind}" for kind, count in present.items() if count)
        raise RewardModelUnavailable(
            f"This machine has no device {str(chosen)!r}, only {there}. Pass device='auto', or "
            "install a torch that supports it; `roboreward doctor` shows what torch sees."
        )
    return chosen


def choose_dtype(
    dtype: torch.dtype | str | None, device: torch.device, folder: Path
) -> torch.dtype:
    """Return the wanted precision; by default float32 on the CPU and the checkpoint's own elsewhere."""
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is not None:
        return getattr(torch, dtype)
    if device.type == "cpu":
        return torch.float32
    config = _read_json(folder / "config.json")
    stored = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    return getattr(torch, str(stored), torch.bfloat16)


def read_config(folder: Path) -> Qwen3VLConfig:
    """Read the configuration of a checkpoint whose small files were checked.

    Raises:
        WeightsError: It describes no Qwen3-VL, or one that cuts videos into other patches.
    """
    try:
        config = Qwen3VLConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"The config in {folder} is not that of a Qwen3-VL: {error}. {ADVICE}"
        ) from error
    vision = config.vision_config
    found = (vision.patch_size, vision.temporal_patch_size, vision.spatial_merge_size)
    if found != (PATCH, TEMPORAL_PATCH, MERGE):
        raise WeightsError(
            f"The model in {folder} cuts videos into patches of {found} (side, frames, merged sides); "
            f"Qwen3-VL's are {(PATCH, TEMPORAL_PATCH, MERGE)}. {ADVICE}"
        )
    return config


def load_model(
    folder: Path,
    dtype: torch.dtype | str | None = None,
    *,
    device: torch.device | None = None,
    attention: str | None = None,
    quantize: Quantization | None = None,
) -> Qwen3VLForConditionalGeneration:
    """Load a model from local files only, after checking that they are whole and fit into memory.

    On a GPU the weights go there file by file, and never as a whole through main memory.

    Args:
        folder: Complete checkpoint folder.
        dtype: Precision; `choose_dtype` says which by default.
        device: Where to; the CPU by default.
        attention: Attention implementation of transformers, such as `flash_attention_2`.
        quantize: Store the language model in 8 or 4 bits; needs the extra `quantized`.

    Raises:
        WeightsError: The folder is missing, incomplete, corrupt, or holds another kind of model.
        RewardModelUnavailable: Too little memory, or a library that is asked for is not installed.
    """
    device = device or torch.device("cpu")
    check_folder(folder)
    check_weight_files(folder)
    precision = choose_dtype(dtype, device, folder)
    count = count_parameters(read_config(folder))
    check_memory(folder.name, count, device, precision, quantize)
    options: dict[str, Any] = {"dtype": precision, "attn_implementation": attention}
    if device.type != "cpu" or quantize is not None:
        options["device_map"] = {"": device}
    if quantize is not None:
        options["quantization_config"] = _quantized(quantize)
    try:
        with without_progress_bars():
            model, report = Qwen3VLForConditionalGeneration.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                **{key: value for key, value in options.items() if value is not None},
            )
    except ImportError as error:
        asked = {"attention": attention, "quantize": quantize, "device": str(device)}
        given = ", ".join(f"{key}={value!r}" for key, value in asked.items() if value)
        raise RewardModelUnavailable(
            f"A library is missing for {given}: {error}. Install it, or leave the option out."
        ) from error
    except torch.OutOfMemoryError:
        raise
    except (OSError, ValueError, RuntimeError, LookupError, TypeError, AttributeError,
            SafetensorError) as error:  # fmt: skip
        raise WeightsError(f"The weights in {folder} cannot be read: {error}. {ADVICE}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        # transformers would go on with random numbers in their place.
        raise WeightsError(
            f"{folder} has no weights for {missing[:3]} ({len(missing)} missing). {ADVICE}"
        )
    return model


@contextmanager
def without_progress_bars() -> Generator[None]:
    """Keep transformers from drawing "Loading weights" while a model is loaded."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _quantized(quantize: Quantization) -> BitsAndBytesConfig:
    missing = [name for name in ("accelerate", "bitsandbytes") if not _installed(name)]
    if missing:
        raise RewardModelUnavailable(
            f"quantize={quantize} needs {' and '.join(missing)}, which is not installed. "
            f"{install_advice('quantized')}"
        )
    kept = {"llm_int8_skip_modules": list(KEPT_PRECISE)}
    if quantize == "int8":
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
