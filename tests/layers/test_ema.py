"""Efficient multi-scale attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.layers.contract import BlockContract
from zoo.errors import ChannelError
from zoo.layers.ema import EfficientMultiscaleAttention


def make(dim: int = 32, **settings: Any) -> EfficientMultiscaleAttention:
    torch.manual_seed(3)
    block = EfficientMultiscaleAttention(dim, **settings).eval()
    for parameter in block.norm.parameters():
        nn.init.normal_(parameter, 0.5)
    return block


class TestContract(BlockContract):
    def make(self) -> nn.Module:
        return make()


def sigmoid(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def softmax(values: list[Tensor]) -> list[Tensor]:
    total = sum(value.exp() for value in values)
    return [value.exp() / total for value in values]


def dense(block: EfficientMultiscaleAttention, x: Tensor) -> Tensor:
    """The two branches and their cross products, pixel by pixel, for the channels of one group of one image."""
    dim, height, width = x.shape
    pointwise, kernel = block.conv1x1.weight[:, :, 0, 0], block.conv3x3.weight
    rows = [sigmoid(pointwise @ x[:, i].mean(1) + block.conv1x1.bias) for i in range(height)]
    columns = [sigmoid(pointwise @ x[:, :, j].mean(1) + block.conv1x1.bias) for j in range(width)]
    gated, three = torch.empty_like(x), torch.empty_like(x)
    for i in range(height):
        for j in range(width):
            gated[:, i, j] = x[:, i, j] * rows[i] * columns[j]
            three[:, i, j] = block.conv3x3.bias
            for di in (-1, 0, 1):
                for dj in (-1, 0, 1):
                    if 0 <= i + di < height and 0 <= j + dj < width:
                        three[:, i, j] += kernel[:, :, di + 1, dj + 1] @ x[:, i + di, j + dj]
    one = torch.empty_like(x)
    for c in range(dim):
        mean = gated[c].mean()
        variance = ((gated[c] - mean) ** 2).mean()
        one[c] = (gated[c] - mean) / (variance + block.norm.eps).sqrt() * block.norm.weight[c] + block.norm.bias[c]
    of_one = softmax([one[c].mean() for c in range(dim)])
    of_three = softmax([three[c].mean() for c in range(dim)])
    summed = sum(of_one[c] * three[c] + of_three[c] * one[c] for c in range(dim))
    return x * sigmoid(summed)


@pytest.mark.fast
@pytest.mark.parametrize("size", [(4, 5), (1, 3), (1, 1)], ids=str)
@pytest.mark.parametrize("groups", [1, 2, 3])
@torch.no_grad()
def test_equals_dense_loop(size: tuple[int, int], groups: int) -> None:
    block = make(6, groups=groups).double()
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    expected = torch.stack([torch.cat([dense(block, group) for group in image.chunk(groups)]) for image in x])
    torch.testing.assert_close(x + block(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dim", "groups"), [(3, 1), (8, 1), (16, 2), (48, 4), (64, 8), (256, 32), (512, 32), (80, 8)])
def test_default_groups_leave_eight_channels_each(dim: int, groups: int) -> None:
    assert EfficientMultiscaleAttention(dim).groups == groups


@pytest.mark.parametrize("groups", [0, -1, 5])
def test_impossible_settings(groups: int) -> None:
    with pytest.raises(ChannelError, match=f"dim=32, groups={groups}"):
        EfficientMultiscaleAttention(32, groups=groups)
