"""Large separable kernel attention."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.layers.contract import BlockContract
from zoo.errors import ChannelError
from zoo.layers.lska import LargeSeparableKernelAttention


def make(dim: int = 32, **settings: Any) -> LargeSeparableKernelAttention:
    torch.manual_seed(3)
    return LargeSeparableKernelAttention(dim, **settings).eval()


class TestContract(BlockContract):
    def make(self) -> nn.Module:
        return make()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
    def test_large_activations(self, dtype: torch.dtype) -> None:
        """The weights grow with the map, so their product with maps of 1e4 is beyond float16 by definition."""
        super().test_large_activations(dtype)


def along(weight: Tensor, bias: Tensor, x: Tensor, axis: int, step: int) -> Tensor:
    """One channel filtered along an axis by taps `step` pixels apart, pixel by pixel; zeros outside the map."""
    y = torch.full_like(x, bias.item())
    taps = weight.flatten()
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            for t, tap in enumerate(taps):
                at = [i, j]
                at[axis] += (t - len(taps) // 2) * step
                if 0 <= at[0] < x.shape[0] and 0 <= at[1] < x.shape[1]:
                    y[i, j] += tap * x[at[0], at[1]]
    return y


def dense(block: LargeSeparableKernelAttention, x: Tensor, step: int) -> Tensor:
    """Equations 9 to 12 of the paper for one image."""
    channels = []
    for c, y in enumerate(x):
        for layer, axis, apart in (
            (block.near_row, 1, 1),
            (block.near_column, 0, 1),
            (block.far_row, 1, step),
            (block.far_column, 0, step),
        ):
            y = along(layer.weight[c], layer.bias[c], y, axis, apart)
        channels.append(y)
    attention = torch.einsum("oc,chw->ohw", block.mix.weight[:, :, 0, 0], torch.stack(channels))
    return x * (attention + block.mix.bias[:, None, None])


@pytest.mark.fast
@pytest.mark.parametrize(("kernel_size", "step"), [(7, 2), (11, 2), (23, 3)])
@pytest.mark.parametrize("size", [(5, 9), (1, 1)], ids=str)
@torch.no_grad()
def test_equals_dense_loop(size: tuple[int, int], kernel_size: int, step: int) -> None:
    block = make(3, kernel_size=kernel_size).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = torch.stack([dense(block, image, step) for image in x])
    torch.testing.assert_close(x + block(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("kernel_size", "reach"), [(7, 3), (11, 5), (23, 11), (35, 17), (53, 26)])
def test_sees_as_far_as_its_kernel_is_named(kernel_size: int, reach: int) -> None:
    x = torch.randn(1, 2, 61, 61, dtype=torch.float64, requires_grad=True)
    make(2, kernel_size=kernel_size).double().weights(x)[0, 0, 30, 30].backward()
    seen = x.grad[0, 0].abs().sum(0).nonzero()
    assert abs((seen.max() - seen.min()).item() // 2 - reach) <= 1


@pytest.mark.parametrize("kernel_size", [1, 5, 9, 24, 0, -7])
def test_impossible_settings(kernel_size: int) -> None:
    with pytest.raises(ChannelError, match=r"paper's sizes are 7, 11, 23"):
        LargeSeparableKernelAttention(32, kernel_size=kernel_size)
