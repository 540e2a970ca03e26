"""One forward pass in two halves: the vision tower, then the language model on its features.

Clips that share frames need their features once (`patch_features`), and whether a video is of a known kind shows in them. Both halves do what
`Qwen3VLForConditionalGeneration.forward` does, in the same order, so that scores are bit-exact the same; the tests compare them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from reward_models.protocol.frames import MERGE
from reward_models.protocol.inputs import Grid
from reward_models.qwen3vl.plain import PlainQwen3VL

if TYPE_CHECKING:
    from transformers import Qwen3VLForConditionalGeneration


@dataclass(frozen=True, eq=False)
class VideoFeatures:
    """What the vision tower makes of one video.

    Attributes:
        tokens: `(N, width)` features, one for each visual token of the prompt.
        deepstack: The same shape for each layer of the language model that gets features of its own.
    """

    tokens: torch.Tensor
    deepstack: tuple[torch.Tensor, ...]


def encode_videos(
    model: "Qwen3VLForConditionalGeneration | PlainQwen3VL",
    pixels: Sequence[torch.Tensor],
    grids: Sequence[Grid],
) -> list[VideoFeatures]:
    """Run the vision tower over several videos at once.

    Args:
        model: The model.
        pixels: `(patches, 1536)` float32 of each video.
        grids: Patches of each video.
    """
    visual, device = model.model.visual, model.device
    joined = (pixels[0] if len(pixels) == 1 else torch.cat(list(pixels))).to(device, visual.dtype)
    output = visual(joined, grid_thw=torch.tensor(grids, device=device))
    sizes = [t * h * w // MERGE**2 for t, h, w in grids]
    layers = [output.pooler_output, *(output.deepstack_features or ())]
    parts = [layer.split(sizes) for layer in layers]
    return [VideoFeatures(tokens, tuple(deep)) for tokens, *deep in zip(*parts, strict=True)]


def next_token_logits(
    model: "Qwen3VLForConditionalGeneration | PlainQwen3VL",
    inputs: Mapping[str, torch.Tensor],
    features: Sequence[VideoFeatures],
) -> torch.Tensor:
    """`(B, vocabulary)` logits behind prompts whose videos are encoded already.

    Args:
        model: The model.
        inputs: `input_ids`, `attention_mask` and `position_ids` of B prompts.
        features: Those of the video of each prompt.
    """
    language = model.model.language_model
    embeddings = language.get_input_embeddings()(inputs["input_ids"])
    is_visual = inputs["input_ids"] == model.config.video_token_id
    tokens = torch.cat([f.tokens for f in features]).to(embeddings.device, embeddings.dtype)
    layers = zip(*(f.deepstack for f in features), strict=True)
    output = language(
        input_ids=None,
        inputs_embeds=embeddings.masked_scatter(is_visual[..., None], tokens),
        attention_mask=inputs["attention_mask"],
        position_ids=inputs["position_ids"],
        visual_pos_masks=is_visual,
        deepstack_visual_embeds=[torch.cat(layer) for layer in layers],
        use_cache=False,
    )
    return model.lm_head(output.last_hidden_state[:, -1:])[:, -1]
