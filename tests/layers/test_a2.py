"""Double attention."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.layers.contract import BlockContract
from tests.layers.official import OfficialDoubleAttention, convert
from zoo.errors import ChannelError
from zoo.layers.a2 import DoubleAttention


def make(dim: int = 32, **settings: Any) -> DoubleAttention:
    torch.manual_seed(3)
    kind = OfficialDoubleAttention if "reconstruct" in settings else DoubleAttention
    return kind(dim, **settings).eval()


class TestContract(BlockContract):
    def make(self) -> nn.Module:
        return make()


class TestWithoutReconstructionContract(BlockContract):
    def make(self) -> nn.Module:
        return make(c_m=12, c_n=2, reconstruct=False)


def dense(block: DoubleAttention, x: Tensor) -> Tensor:
    """The paper's definition, descriptor by descriptor and pixel by pixel, for one image."""
    _, _, height, width = x.shape
    pixels = [x[0, :, i, j] for i in range(height) for j in range(width)]

    def conv(layer: nn.Conv2d, pixel: Tensor) -> Tensor:
        y = layer.weight[:, :, 0, 0] @ pixel
        return y if layer.bias is None else y + layer.bias

    features = [conv(block.convA, pixel) for pixel in pixels]
    gather = [conv(block.convB, pixel).exp() for pixel in pixels]
    distribute = [conv(block.convV, pixel).exp() for pixel in pixels]
    descriptors = []
    for n in range(block.convV.out_channels):
        total = sum(weight[n] for weight in gather)
        descriptors.append(sum(weight[n] / total * feature for weight, feature in zip(gather, features, strict=True)))
    out = []
    for weight in distribute:
        z = sum(w / weight.sum() * descriptor for w, descriptor in zip(weight, descriptors, strict=True))
        out.append(conv(block.conv_reconstruct, z) if isinstance(block.conv_reconstruct, nn.Conv2d) else z)
    return torch.stack(out, 1).view(1, -1, height, width)


@pytest.mark.fast
@pytest.mark.parametrize("size", [(4, 5), (1, 3), (1, 1)], ids=str)
@pytest.mark.parametrize(
    "settings",
    [{}, {"c_m": 3, "c_n": 7}, {"c_m": 5, "c_n": 2, "reconstruct": False}],
    ids=str,
)
@torch.no_grad()
def test_equals_dense_loop(size: tuple[int, int], settings: dict[str, Any]) -> None:
    block = make(6, **settings).double()
    x = torch.randn(1, 6, *size, dtype=torch.float64)
    torch.testing.assert_close(block(x), dense(block, x), rtol=0, atol=1e-12)


@torch.no_grad()
def test_commutes_with_permutations_of_pixels() -> None:
    block = make().double()
    x = torch.randn(2, 32, 6, 7, dtype=torch.float64)
    order = torch.randperm(42)

    def permute(t: Tensor) -> Tensor:
        return t.flatten(2)[:, :, order].view_as(t)

    torch.testing.assert_close(block(permute(x)), permute(block(x)), rtol=0, atol=1e-12)


@torch.no_grad()
def test_official_bias_of_the_gathering_has_no_effect() -> None:
    """The converter drops it; the definition, given it, agrees."""
    block = make().double()
    x = torch.randn(1, 32, 2, 3, dtype=torch.float64)
    official = block.state_dict() | {"convB.bias": torch.randn(16)}
    before = block(x)
    block.load_state_dict(convert(block, official))
    biased = copy.deepcopy(block)
    biased.convB.bias = nn.Parameter(official["convB.bias"].double())
    torch.testing.assert_close(dense(biased, x), before, rtol=0, atol=1e-12)


@torch.no_grad()
def test_output_keeps_the_memory_format() -> None:
    x = torch.randn(2, 32, 6, 7)
    assert make()(x).is_contiguous()
    channels_last = make()(x.contiguous(memory_format=torch.channels_last))
    assert channels_last.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("settings", [{"c_n": 1}, {"c_m": 0}, {"c_n": -1}], ids=str)
def test_impossible_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ChannelError, match="c_m >= 1 and c_n >= 2"):
        make(32, **settings)
