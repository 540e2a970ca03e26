"""The vision half without its frozen tower: what is left of it when the tower's output is kept on disk.

The authors train the projector, which is the merger and what feeds the deepstack, so what is kept is what comes out of the
tower *before* them.
"""

import torch
from torch import nn
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    BaseModelOutputWithDeepstackFeatures,
    Qwen3VLVisionModel,
)


class Projector(nn.Module):
    """Takes the tower's place in a model: its input is what the tower gives to its mergers.

    Parameters keep their names in the model, so that checkpoints fit both.

    Args:
        visual: The vision half whose mergers are used, not copied.
    """

    def __init__(self, visual: Qwen3VLVisionModel) -> None:
        super().__init__()
        self.config = visual.config
        self.spatial_merge_size = visual.spatial_merge_size
        self.merger = visual.merger
        self.deepstack_merger_list = visual.deepstack_merger_list

    @property
    def dtype(self) -> torch.dtype:
        """Precision of its parameters, as the model asks for it."""
        return self.merger.norm.weight.dtype

    def forward(
        self, hidden_states: torch.Tensor, grid_thw: torch.Tensor, **_: object
    ) -> BaseModelOutputWithDeepstackFeatures:
        """Project `(patches, width * (1 + deepstack layers))` features of the tower."""
        last, *deep = hidden_states.split(self.config.hidden_size, dim=-1)
        return BaseModelOutputWithDeepstackFeatures(
            pooler_output=self.merger(last),
            deepstack_features=[
                merger(layer)
                for merger, layer in zip(self.deepstack_merger_list, deep, strict=True)
            ],
        )


def is_of_tower(name: str) -> bool:
    """Whether a weight of a whole model, by its name, belongs to the frozen tower: to the vision half without the projector."""
    return "visual" in name and "merger" not in name


@torch.no_grad()
def tower_features(
    visual: Qwen3VLVisionModel, pixels: torch.Tensor, grid: torch.Tensor
) -> torch.Tensor:
    """`(patches, width * (1 + deepstack layers))`: what the tower gives to its mergers, side by side."""
    mergers = [visual.merger, *visual.deepstack_merger_list]
    given: dict[int, torch.Tensor] = {}
    hooks = [
        merger.register_forward_pre_hook(
            lambda _, inputs, place=place: given.update({place: inputs[0]})
        )
        for place, merger in enumerate(mergers)
    ]
    try:
        visual(pixels.to(visual.dtype), grid_thw=grid)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat([given[place] for place in range(len(mergers))], dim=-1)


def freeze(model: Qwen3VLForConditionalGeneration, *, projector: bool) -> None:
    """Leave only the language model and, if wanted, the projector to be trained."""
    visual = model.model.visual
    model.requires_grad_(requires_grad=True)
    visual.requires_grad_(requires_grad=False)
    for merger in (visual.merger, visual.deepstack_merger_list):
        merger.requires_grad_(requires_grad=projector)
