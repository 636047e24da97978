"""Blocks that are given nothing but the channels."""

from __future__ import annotations

import pytest
import torch

from zoo.layers.a2 import DoubleAttention
from zoo.layers.dattn import DeformableAttention
from zoo.layers.halo import HaloAttention
from zoo.layers.hat import HybridAttention
from zoo.layers.heads import default_heads

CHANNELS = [1, 3, 16, 40, 64, 144, 200, 256]


@pytest.mark.parametrize("dim", CHANNELS)
@pytest.mark.parametrize("kind", [DoubleAttention, DeformableAttention, HaloAttention, HybridAttention])
@torch.inference_mode()
def test_any_channels_will_do(kind: type[torch.nn.Module], dim: int) -> None:
    x = torch.randn(1, dim, 5, 9)
    y = kind(dim).eval()(x)
    assert y.shape == x.shape
    assert torch.isfinite(y).all()


@pytest.mark.fast
@pytest.mark.parametrize(
    ("dim", "channels", "heads"), [(256, 32, 8), (576, 32, 18), (200, 32, 5), (31, 32, 1), (7, 3, 1)]
)
def test_heads_divide_the_channels(dim: int, channels: int, heads: int) -> None:
    assert default_heads(dim, channels) == heads


@pytest.mark.fast
@pytest.mark.parametrize(("dim", "width"), [(3, 16), (64, 32), (128, 48), (256, 64), (512, 96)])
def test_width_of_hybrid_attention_follows_the_map(dim: int, width: int) -> None:
    """The widths that the models set at P3, P4 and P5 of scale n, and at P5 of scale s."""
    assert HybridAttention(dim).proj.in_channels == width
