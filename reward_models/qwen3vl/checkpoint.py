"""A checkpoint on disk: found, and checked before anything of it is read. Needs neither transformers nor the hub's client."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from roboreward_gym.errors import InvalidSetting, RewardModelUnavailable, WeightsError

MODEL_TYPE = "qwen3_vl"
INDEX = "model.safetensors.index.json"
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
SHA256 = re.compile(r"[0-9a-f]{64}")
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
        raise WeightsError(f"{source} is not a folder with a checkpoint. {ADVICE}")
    from reward_models.qwen3vl import hub  # its client takes longer to import than nano to load

    path, commit = hub.fetch(source, revision, offline=offline, cache=cache, weights=weights)
    return Checkpoint(path, source, commit)


def check_folder(folder: Path) -> None:
    """Check the small files of a checkpoint, and that no weight file of its index is missing.

    Raises:
        WeightsError: The folder is incomplete, or holds another kind of model.
    """
    config = folder / "config.json"
    if not config.is_file():
        raise WeightsError(f"{folder} has no {config.name}, so it is not a checkpoint. {ADVICE}")
    model_type = read_json(config).get("model_type")
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
        wanted = set(read_json(index).get("weight_map", {}).values())
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


def read_json(path: Path) -> Mapping[str, Any]:
    """Read a small file of a checkpoint; empty if it holds something other than an object.

    Raises:
        WeightsError: It holds no JSON.
    """
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
        raise InvalidSetting(f"{device!r} is not a device. Pass one such as 'cuda:0'.") from error
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
    config = read_json(folder / "config.json")
    stored = config.get("dtype") or config.get("torch_dtype") or "bfloat16"
    return getattr(torch, str(stored), torch.bfloat16)


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
