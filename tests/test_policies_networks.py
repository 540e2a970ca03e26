"""The ensemble with gradients by hand against the same layers in plain torch."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from policies.dsrl.networks import Ensemble

SIZES = [5, 8, 7, 2]


def ensemble(members: int) -> Ensemble:
    made = Ensemble(members, SIZES, torch.Generator().manual_seed(0))
    with torch.no_grad():
        made.vector.add_(0.1 * torch.randn(made.vector.shape))
    return made


def plain(vector: Tensor, members: int, x: Tensor) -> Tensor:
    """`(members, B, out)`, one member after the other, by torch's own layers."""
    parts = []
    for before, after in itertools.pairwise(SIZES):
        for shape in ((members, before, after), (members, 1, after)):
            part, vector = vector[: math.prod(shape)], vector[math.prod(shape) :]
            parts.append(part.view(shape))
    out = []
    for member in range(members):
        h = x
        for weight, bias in zip(parts[:-2:2], parts[1:-2:2], strict=True):
            h = F.linear(h, weight[member].T, bias[member, 0])
            h = torch.tanh(F.layer_norm(h, h.shape[-1:]))
        out.append(F.linear(h, parts[-2][member].T, parts[-1][member, 0]))
    return torch.stack(out)


@pytest.mark.parametrize("members", [1, 3])
def test_values_and_gradients_equal_plain_torch(members: int) -> None:
    made = ensemble(members)
    x = torch.randn(6, SIZES[0], requires_grad=True)
    weight = torch.randn(members, 6, SIZES[-1])
    fast, slow = made(x), plain(made.vector, members, x)
    torch.testing.assert_close(fast, slow)
    gradients = [
        torch.autograd.grad((out * weight).sum(), [x, made.vector]) for out in (fast, slow)
    ]
    for by_hand, by_torch in zip(*gradients, strict=True):
        torch.testing.assert_close(by_hand, by_torch, atol=2e-6, rtol=1e-4)


def test_frozen_parameters_pass_the_gradient_on_and_get_none() -> None:
    made = ensemble(2)
    x = torch.randn(6, SIZES[0], requires_grad=True)
    made(x, frozen=True).sum().backward()
    slow = torch.autograd.grad(plain(made.vector, 2, x).sum(), x)[0]
    torch.testing.assert_close(x.grad, slow, atol=2e-6, rtol=1e-4)
    assert made.vector.grad is None


def test_loaded_parameters_are_those_of_the_layers() -> None:
    made, other = ensemble(2), ensemble(2)
    other.load_state_dict(made.state_dict())
    x = torch.randn(4, SIZES[0])
    assert torch.equal(made(x), other(x))


def test_follows_another_by_a_share() -> None:
    made, other = ensemble(2), ensemble(2)
    expected = 0.75 * made.vector + 0.25 * other.vector
    made.follow(other, 0.25)
    torch.testing.assert_close(made.vector, expected)
