"""A folder that LeRobot saved a policy in: where it is, what is in it, and whether this version can read it."""

import json
import re
from contextlib import redirect_stdout
from dataclasses import fields, replace
from hashlib import file_digest, sha256
from importlib import metadata
from io import StringIO
from pathlib import Path
from typing import Any

import draccus
import safetensors
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from lerobot.configs import NormalizationMode, PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.processor import (
    NormalizerProcessorStep,
    PolicyProcessorPipeline,
    UnnormalizerProcessorStep,
)
from lerobot.processor.pipeline import ProcessorMigrationError
from lerobot.utils.import_utils import register_third_party_plugins

from roboreward_gym.errors import InvalidSetting, WeightsError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PROCESSORS = ("policy_preprocessor.json", "policy_postprocessor.json")
OURS = ("config.json", "policy_*", "*.safetensors")
"""Files that decide what a policy does."""
CHECKPOINT = "pretrained_model"
"""Where `lerobot-train` puts the policy inside a checkpoint."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
Processors = tuple[PolicyProcessorPipeline[Any, Any], PolicyProcessorPipeline[Any, Any]]

AT_LOADING: dict[str, Any] = {
    # Weights that are about to be replaced need no download,
    "pretrained_backbone_weights": None,
    "load_vlm_weights": False,
    # and compiling costs more than it saves on a policy that is asked once per chunk.
    "compile_model": False,
}
"""Settings of a saved config that only training needs."""


def find(source: str) -> Path:
    """The folder of a policy: that folder itself, the one in a checkpoint, or a copy from the Hub.

    Raises:
        WeightsError: There is none, or the Hub cannot be reached.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        inner = folder / CHECKPOINT
        return inner if inner.is_dir() else folder
    if not HUB_ID.fullmatch(source):
        raise WeightsError(
            f"There is no folder {source}. Name the folder that lerobot-train wrote "
            f"(…/checkpoints/last/{CHECKPOINT}), or a Hub id as USER/NAME."
        )
    try:
        return Path(snapshot_download(source, allow_patterns=list(OURS)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(
            f"There is no folder {source}, and the Hugging Face Hub gave no policy of that name ({reason}). Check the "
            "name and the network, or download the policy elsewhere and name its folder."
        ) from error


def fingerprint(folder: Path) -> str:
    """SHA-256 over all files that decide what the policy does: config, weights, processors and their statistics."""
    whole = sha256()
    for path in sorted({path for pattern in OURS for path in folder.glob(pattern)}):
        with path.open("rb") as file:
            whole.update(path.name.encode() + file_digest(file, "sha256").digest())
    return whole.hexdigest()


def load_config(folder: Path, device: str) -> PreTrainedConfig:
    """Read the policy's config, without what only its training needs.

    Raises:
        WeightsError: No LeRobot policy, or one of another version.
        InvalidSetting: A policy of a type that is not installed, or an adapter without its base.
    """
    if missing := [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]:
        raise WeightsError(
            f"{folder} holds no LeRobot policy: {' and '.join(missing)} missing. Name the folder that lerobot-train wrote "
            f"(…/checkpoints/last/{CHECKPOINT})."
        )
    register_third_party_plugins()
    try:
        kind = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("type")
        if kind not in PreTrainedConfig.get_known_choices():
            raise InvalidSetting(
                f"{folder} holds a policy of type {kind!r}, which LeRobot {metadata.version('lerobot')} does not know. "
                f"Install its plugin, or use one of {sorted(PreTrainedConfig.get_known_choices())}."
            )
        config = PreTrainedConfig.from_pretrained(folder)
    except (ValueError, AttributeError, TypeError, draccus.utils.DecodingError) as error:
        if isinstance(error, InvalidSetting):
            raise
        raise _other_version(folder / CONFIG, error) from error
    if config.use_peft:
        raise InvalidSetting(
            f"{folder} holds an adapter (PEFT) and not a whole policy. Merge it into its base and save that."
        )
    names = {field.name for field in fields(config)}
    changes = {name: value for name, value in AT_LOADING.items() if name in names}
    return replace(config, device=device, **changes)


def _other_version(path: Path, error: Exception) -> WeightsError:
    reason = " ".join(str(error).split())[:300]
    return WeightsError(
        f"{path} cannot be read ({reason}). LeRobot {metadata.version('lerobot')} is installed: if another version saved the "
        "policy, install that one, or load and save the policy with this one."
    )


def load_processors(folder: Path, config: PreTrainedConfig, device: str) -> Processors:
    """The pipelines before and after the policy, with the statistics that it was trained with.

    Raises:
        WeightsError: There are none, or their statistics are missing.
    """
    try:
        steps = json.loads((folder / PROCESSORS[0]).read_text(encoding="utf-8"))["steps"]
        # Observations come under the names of the policy, and on the device of this run.
        wanted = {
            "rename_observations_processor": {"rename_map": {}},
            "device_processor": {"device": device},
        }
        present = {step.get("registry_name") for step in steps}
        processors = make_pre_post_processors(
            config,
            pretrained_path=str(folder),
            preprocessor_overrides={k: v for k, v in wanted.items() if k in present},
        )
    except (
        OSError,
        ValueError,
        KeyError,
        ImportError,
        safetensors.SafetensorError,
        ProcessorMigrationError,
    ) as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"{folder} has no processors that can be read ({reason}), so nobody knows how to normalise states and actions. "
            "If LeRobot before 0.4 saved the policy, run `python -m lerobot.processor.migrate_policy_normalization "
            f"--pretrained-path {folder}`."
        ) from error
    check_statistics(folder, config, processors)
    return processors


def check_statistics(folder: Path, config: PreTrainedConfig, processors: Processors) -> None:
    """Check that whatever has to be normalised has its statistics.

    Raises:
        WeightsError: Some are missing; LeRobot would leave those values as they are, without a word.
    """
    kinds = (NormalizerProcessorStep, UnnormalizerProcessorStep)
    features = (config.input_features, config.output_features)
    for pipeline, kind, wanted in zip(processors, kinds, features, strict=True):
        known = {
            key for step in pipeline.steps if isinstance(step, kind) for key in step.stats or {}
        }
        mapping = config.normalization_mapping
        missing = [
            key
            for key, feature in (wanted or {}).items()
            if mapping.get(feature.type.value, NormalizationMode.IDENTITY)
            != NormalizationMode.IDENTITY
            and key not in known
        ]
        if missing:
            raise WeightsError(
                f"{folder} lacks the statistics to normalise {', '.join(missing)}. Save the policy with the processors that "
                "were made from its data set, as lerobot-train does."
            )


def load_policy(folder: Path, config: PreTrainedConfig) -> PreTrainedPolicy:
    """The policy with its weights, in evaluation mode, every weight compared with the file.

    Raises:
        WeightsError: The weights do not fit: cut short, or of another version.
        InvalidSetting: A package is missing that this type of policy needs.
    """
    try:
        with redirect_stdout(StringIO()):  # LeRobot prints its progress
            policy = get_policy_class(config.type).from_pretrained(folder, config=config)
    except ImportError as error:
        raise InvalidSetting(
            f"A policy of type {config.type} needs more packages ({error}). Install LeRobot's extra for it: "
            f"pip install 'lerobot[{config.type}]'."
        ) from error
    except (OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise _other_version(folder / WEIGHTS, error) from error
    check_weights(folder / WEIGHTS, policy)
    return policy.eval().requires_grad_(requires_grad=False)


def check_weights(path: Path, policy: torch.nn.Module) -> None:
    """Check that the policy has the weights of the file, all of them and no others.

    LeRobot only warns of names that do not match, and pi0's loader returns random weights after any error.

    Raises:
        WeightsError: A weight is missing, unknown, or has another value.
    """
    state = policy.state_dict()
    loaded: set[str] = set()
    with safetensors.safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            key = name if name in state else f"model.{name}"  # pi0 from openpi
            if key not in state or not _equal(state[key], file.get_tensor(name)):
                problem = "unknown" if key not in state else "not loaded"
                raise _other_version(path, ValueError(f"weight {name} is {problem}"))
            loaded.add(key)
    shared = {state[key].data_ptr() for key in loaded}  # tied weights are saved once
    missing = [
        key
        for key, weight in state.items()
        if key not in loaded and weight.data_ptr() not in shared
    ]
    if missing:
        raise _other_version(path, ValueError(f"weight {missing[0]} is missing"))


def _equal(loaded: torch.Tensor, saved: torch.Tensor) -> bool:
    return loaded.shape == saved.shape and torch.equal(loaded.cpu(), saved.to(loaded.dtype))
