"""Load a checkpoint that was found and checked, by transformers."""

import importlib.util
import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    BitsAndBytesConfig,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.utils import logging as transformers_logging

from reward_models.model_options import Quantization
from reward_models.protocol.frames import MERGE, PATCH, TEMPORAL_PATCH
from reward_models.qwen3vl.checkpoint import (
    ADVICE,
    check_folder,
    check_weight_files,
    choose_dtype,
)
from reward_models.qwen3vl.memory import KEPT_PRECISE, check_memory, count_parameters
from roboreward_gym.errors import RewardModelUnavailable, WeightsError, install_advice


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
