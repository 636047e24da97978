"""The convolution that attention is compared with."""

from __future__ import annotations

import pytest
from torch import nn

from zoo.errors import ChannelError
from zoo.layers.conv import ConvBlock

pytestmark = pytest.mark.fast


def count(block: nn.Module) -> int:
    return sum(p.numel() for p in block.parameters())


@pytest.mark.parametrize("dim", [3, 64, 256])
@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize("params", [1_000, 66_304, 1_000_000])
def test_spends_its_budget_and_no_more(dim: int, depthwise: bool, params: int) -> None:
    block = ConvBlock(dim, params=params, depthwise=depthwise)
    width = block.body[0].out_channels
    wider = nn.Sequential(
        nn.Conv2d(dim, width + 1, 1, bias=False),
        nn.BatchNorm2d(width + 1),
        nn.Conv2d(width + 1, width + 1, 3, groups=width + 1 if depthwise else 1, bias=False),
        nn.BatchNorm2d(width + 1),
        nn.Conv2d(width + 1, dim, 1),
    )
    assert count(block) <= params < count(wider)


def test_half_as_wide_as_its_map_without_a_budget() -> None:
    assert ConvBlock(64).body[0].out_channels == 32


@pytest.mark.parametrize(("depthwise", "least"), [(True, 205), (False, 205)])
def test_a_budget_below_one_channel(depthwise: bool, least: int) -> None:
    assert count(ConvBlock(64, params=least, depthwise=depthwise)) == least
    with pytest.raises(ChannelError, match=f"at least {least} parameters, got params={least - 1}"):
        ConvBlock(64, params=least - 1, depthwise=depthwise)
