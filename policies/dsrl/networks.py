"""Equal MLPs as one batched product, with their parameters in one vector.

Nets this small are all overhead: one vector makes one step of Adam and one running average each a single operation, and
gradients by hand make the whole ensemble a single node for autograd.
"""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-5
"""Added to the variance by LayerNorm, as in torch."""
Layer = tuple[Tensor, Tensor]


class Ensemble(nn.Module):
    """`members` MLPs of these sizes, tanh after LayerNorm (without gain and shift) in each hidden layer.

    It stays on the device of the generator: the layers are views of `vector`, which holds all parameters.
    """

    def __init__(self, members: int, sizes: list[int], generator: torch.Generator) -> None:
        super().__init__()
        shapes = [s for a, b in pairwise(sizes) for s in ((members, a, b), (members, 1, b))]
        lengths = [math.prod(shape) for shape in shapes]
        self.vector = nn.Parameter(torch.zeros(sum(lengths), device=generator.device))
        views = [
            part.view(shape)
            for part, shape in zip(self.vector.detach().split(lengths), shapes, strict=True)
        ]
        self.layers: list[Layer] = list(zip(views[::2], views[1::2], strict=True))
        for weight, _ in self.layers:
            limit = weight.shape[1] ** -0.5
            weight.uniform_(-limit, limit, generator=generator)

    def forward(self, x: Tensor, *, frozen: bool = False) -> Tensor:
        """`(B, in)` to `(members, B, out)`; `frozen` leaves out the gradient of the parameters."""
        vector = self.vector.detach() if frozen else self.vector
        return _Layers.apply(x, vector, self.layers)

    @torch.no_grad()
    def follow(self, other: "Ensemble", share: float) -> None:
        """Move by this share towards the parameters of another."""
        self.vector.lerp_(other.vector, share)


class _Layers(torch.autograd.Function):
    """The layers of an ensemble and their gradients; a test compares both with torch's own."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, vector: Tensor, layers: list[Layer]) -> Tensor:
        h = x.expand(len(layers[0][0]), -1, -1)
        ctx.hidden = []
        for weight, bias in layers[:-1]:
            z = torch.baddbmm(bias, h, weight)
            normed, mean, deviation = torch.native_layer_norm(z, z.shape[2:], None, None, EPSILON)
            y = normed.mul_(2).sigmoid_().mul_(2).sub_(1)  # tanh(n) = 2 sigmoid(2 n) - 1, faster
            ctx.hidden.append((h, z, mean, deviation, y))
            h = y
        ctx.last, ctx.layers, ctx.trained = h, layers, vector.requires_grad
        weight, bias = layers[-1]
        return torch.baddbmm(bias, h, weight)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (g,) = grads
        parts: list[Tensor] = []  # of the vector, from its end
        if ctx.trained:
            parts += [g.sum(1), ctx.last.mT @ g]
        for (h, z, mean, deviation, y), (after, _) in zip(
            ctx.hidden[::-1], ctx.layers[:0:-1], strict=True
        ):
            g = torch.ops.aten.tanh_backward(g @ after.mT, y)
            shape, wanted = z.shape[2:], [True, False, False]
            g = torch.ops.aten.native_layer_norm_backward(
                g, z, shape, mean, deviation, None, None, wanted
            )[0]
            if ctx.trained:
                parts += [g.sum(1), h.mT @ g]
        to_x = (g @ ctx.layers[0][0].mT).sum(0) if ctx.needs_input_grad[0] else None
        whole = torch.cat([part.flatten() for part in parts[::-1]]) if ctx.trained else None
        return to_x, whole, None
