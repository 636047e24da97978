"""Global attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.layers.contract import BlockContract
from zoo.errors import ChannelError
from zoo.layers.gam import GlobalAttention


def make(dim: int = 32, **settings: Any) -> GlobalAttention:
    torch.manual_seed(3)
    block = GlobalAttention(dim, **settings).eval()
    for norm in (block.gather[1], block.spread[1]):
        nn.init.normal_(norm.weight, 1.0, 0.3)
        nn.init.normal_(norm.bias)
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return block


class TestContract(BlockContract):
    batch_norm = True

    def make(self) -> nn.Module:
        return make()


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def wide(layer: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """A grouped 7x7 convolution and its normalisation, one output at a time."""
    height, width = x.shape[1:]
    per_group, reads = layer.out_channels // layer.groups, layer.in_channels // layer.groups
    y = torch.zeros(layer.out_channels, height, width, dtype=x.dtype)
    for c in range(layer.out_channels):
        first = c // per_group * reads
        for i in range(height):
            for j in range(width):
                for di in range(-3, 4):
                    for dj in range(-3, 4):
                        if 0 <= i + di < height and 0 <= j + dj < width:
                            seen = x[first : first + reads, i + di, j + dj]
                            y[c, i, j] += layer.weight[c, :, di + 3, dj + 3] @ seen
        y[c] = (y[c] - norm.running_mean[c]) / (norm.running_var[c] + norm.eps).sqrt() * norm.weight[c] + norm.bias[c]
    return y


def dense(block: GlobalAttention, x: Tensor, groups: int) -> Tensor:
    """Equations 1 and 2 of the paper for one image, the submodules pixel by pixel."""
    first, _, second, _ = block.channel
    by_channel = torch.empty_like(x)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            hidden = (first.weight[:, :, 0, 0] @ x[:, i, j] + first.bias).clamp(min=0)
            by_channel[:, i, j] = sigmoid(second.weight[:, :, 0, 0] @ hidden + second.bias)
    x = x * by_channel
    hidden = wide(block.gather[0], block.gather[1], x).clamp(min=0)
    per_group = len(hidden) // groups
    shuffled = torch.stack([hidden[k % groups * per_group + k // groups] for k in range(len(hidden))])
    return x * sigmoid(wide(block.spread[0], block.spread[1], shuffled))


@pytest.mark.fast
@pytest.mark.parametrize(("dim", "reduction", "groups"), [(8, 2, 1), (8, 2, 2), (8, 1, 4)])
@pytest.mark.parametrize("size", [(3, 4), (1, 1)], ids=str)
@torch.no_grad()
def test_equals_dense_loop(size: tuple[int, int], dim: int, reduction: int, groups: int) -> None:
    block = make(dim, reduction=reduction, groups=groups).double()
    x = torch.randn(2, dim, *size, dtype=torch.float64)
    expected = torch.stack([dense(block, image, groups) for image in x])
    torch.testing.assert_close(x + block(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dim", "groups"), [(3, 1), (16, 4), (24, 2), (48, 4), (256, 4)])
def test_default_groups(dim: int, groups: int) -> None:
    assert GlobalAttention(dim).gather[0].groups == groups


@pytest.mark.parametrize("settings", [{"groups": 3}, {"groups": 0}, {"reduction": 0}, {"groups": 16}], ids=str)
def test_impossible_settings(settings: dict[str, int]) -> None:
    with pytest.raises(ChannelError, match=r"groups to divide|positive reduction"):
        GlobalAttention(32, **settings)
