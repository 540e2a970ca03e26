"""Small LeRobot policies on disk, made by LeRobot's own classes with random weights."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.configs.policies import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors
from lerobot.policies.pi0 import modeling_pi0, processor_pi0
from lerobot.processor import TokenizerProcessorStep
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    AutoTokenizer,
    GemmaConfig,
    PaliGemmaConfig,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
    SmolVLMConfig,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from policies.lerobot_policy.observations import Interface

CAMERA = "observation.images.top"
ROOM = Interface(image_size=(96, 128), state_dim=7, action_dim=7, task="open the drawer")


TRUTH = {"truth/level": 1.0, "truth/success": 0.0}


class StepCounter(gym.Env):
    """Shows how often it was stepped, in its image and its state."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012

    task = "open the drawer"
    observation_space = gym.spaces.Dict(
        image=gym.spaces.Box(0, 255, (96, 128, 3), np.uint8),
        state=gym.spaces.Box(-np.inf, np.inf, (7,), np.float32),
    )
    action_space = gym.spaces.Box(-1.0, 1.0, (7,), np.float32)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.steps = 0
        return self._observe(), TRUTH

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        self.steps += 1
        return self._observe(), 0.0, False, self.steps == 10, TRUTH

    def render(self) -> np.ndarray:
        return np.full((96, 128, 3), 10 * self.steps, np.uint8)

    def _observe(self) -> dict[str, np.ndarray]:
        return {"image": self.render(), "state": np.full(7, self.steps, np.float32)}


def features(
    camera: str = CAMERA, state: int = 7, action: int = 7
) -> dict[str, dict[str, PolicyFeature]]:
    return {
        "input_features": {
            camera: PolicyFeature(FeatureType.VISUAL, (3, 48, 64)),
            "observation.state": PolicyFeature(FeatureType.STATE, (state,)),
        },
        "output_features": {"action": PolicyFeature(FeatureType.ACTION, (action,))},
    }


def stats(config: PreTrainedConfig) -> dict[str, dict[str, np.ndarray]]:
    """Statistics of a data set that never was: states and actions of -2..2, images of -1..1 around 0.5."""
    made = {}
    for key, feature in {**config.input_features, **config.output_features}.items():
        shape = (3, 1, 1) if feature.type is FeatureType.VISUAL else feature.shape
        made[key] = {
            "min": np.full(shape, -2.0, np.float32),
            "max": np.full(shape, 2.0, np.float32),
            "mean": np.full(shape, 0.5, np.float32),
            "std": np.full(shape, 0.5, np.float32),
        }
    return made


def diffusion_config(**changes: Any) -> PreTrainedConfig:
    sizes: dict[str, Any] = {
        "n_obs_steps": 1,
        "horizon": 8,
        "n_action_steps": 4,
        "down_dims": (8, 16),
        "n_groups": 4,
        "pretrained_backbone_weights": None,
        "use_group_norm": True,
        "spatial_softmax_num_keypoints": 4,
        "device": "cpu",
        **features(),
    }
    return make_policy_config("diffusion", **{**sizes, **changes})


def save(config: PreTrainedConfig, folder: Path, seed: int = 0) -> Path:
    """A policy with its processors, as `lerobot-train` leaves them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        policy = get_policy_class(config.type)(config)
    policy.save_pretrained(folder)
    for processor in make_pre_post_processors(config, dataset_stats=stats(config)):
        processor.save_pretrained(folder)
    return folder


def save_tokenizer(folder: Path) -> Path:
    """A tokenizer of a few words, with the special tokens of SmolVLM and PaliGemma."""
    words = ["<pad>", "<unk>", "open", "the", "drawer", "\n", *SPECIAL.values()]
    model = WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = Whitespace()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        extra_special_tokens=SPECIAL,
    )
    wrapped.save_pretrained(folder)
    return folder


SPECIAL = {
    "image_token": "<image>",
    "fake_image_token": "<fake_token_around_image>",
    "global_image_token": "<global-img>",
    "end_of_utterance_token": "<end_of_utterance>",
}


def save_smolvlm(folder: Path) -> Path:
    """SmolVLM of two layers: its config and its processor, which SmolVLA builds its own from."""
    tokenizer = AutoTokenizer.from_pretrained(save_tokenizer(folder))
    SmolVLMProcessor(
        SmolVLMImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32}),
        tokenizer,
        SmolVLMVideoProcessor(),
        image_seq_len=4,
    ).save_pretrained(folder)
    SmolVLMConfig(
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        vision_config={
            "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
        },
        text_config={
            "model_type": "llama", "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
            "pad_token_id": 0,
        },
    ).save_pretrained(folder)  # fmt: skip
    return folder


def smolvla_config(smolvlm: Path, **changes: Any) -> PreTrainedConfig:
    sizes: dict[str, Any] = {
        "chunk_size": 6,
        "n_action_steps": 3,
        "max_state_dim": 8,
        "max_action_dim": 9,
        "resize_imgs_with_padding": (32, 32),
        "num_steps": 2,
        "vlm_model_name": str(smolvlm),
        "num_vlm_layers": 2,
        "device": "cpu",
        **features(),
    }
    return make_policy_config("smolvla", **{**sizes, **changes})


PI0_WIDTH = 16


def make_pi0_tiny(monkeypatch: pytest.MonkeyPatch, tokenizer: Path) -> None:
    """Let LeRobot's `PI0Policy` be built with layers of a few numbers; its code stays as it is.

    Args:
        monkeypatch: pytest's.
        tokenizer: Folder of the tokenizer in place of PaliGemma's, which only the Hub has.
    """
    monkeypatch.setattr(
        processor_pi0,
        "TokenizerProcessorStep",
        lambda tokenizer_name, **rest: TokenizerProcessorStep(
            tokenizer_name=str(tokenizer), **rest
        ),
    )
    small = modeling_pi0.GemmaConfig(
        width=PI0_WIDTH, depth=1, mlp_dim=32, num_heads=2, num_kv_heads=1, head_dim=16
    )
    monkeypatch.setattr(modeling_pi0, "get_gemma_config", lambda variant: small)

    def paligemma_config() -> PaliGemmaConfig:
        vision = SiglipVisionConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, patch_size=112
        )
        return PaliGemmaConfig(vision_config=vision, text_config={"model_type": "gemma"})

    known = {"paligemma": paligemma_config, "gemma": GemmaConfig}
    monkeypatch.setattr(modeling_pi0, "CONFIG_MAPPING", known)
    whole = modeling_pi0.PaliGemmaForConditionalGenerationWithPiGemma

    def paligemma(config: PaliGemmaConfig) -> torch.nn.Module:
        config.vision_config.intermediate_size = 32  # LeRobot has set the published sizes
        config.vision_config.projection_dim = PI0_WIDTH
        return whole(config=config)

    monkeypatch.setattr(modeling_pi0, "PaliGemmaForConditionalGenerationWithPiGemma", paligemma)


def pi0_config(**changes: Any) -> PreTrainedConfig:
    sizes: dict[str, Any] = {
        "chunk_size": 6,
        "n_action_steps": 3,
        "max_state_dim": 8,
        "max_action_dim": 9,
        "num_inference_steps": 2,
        "device": "cpu",
        **features(),
    }
    return make_policy_config("pi0", **{**sizes, **changes})
