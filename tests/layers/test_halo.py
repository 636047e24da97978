"""Halo attention."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.layers.contract import BlockContract
from tests.layers.official import TimmHaloAttention
from zoo.errors import ChannelError
from zoo.layers.halo import HaloAttention


def make(dim: int = 32, kind: type[HaloAttention] = HaloAttention, **settings: Any) -> HaloAttention:
    torch.manual_seed(3)
    return kind(dim, **{"heads": 2, "dim_head": 8, "block_size": 4, "halo_size": 2, **settings}).eval()


class TestContract(BlockContract):
    def make(self) -> nn.Module:
        return make()


class TestSmallBlockContract(BlockContract):
    def make(self) -> nn.Module:
        return make(block_size=2, halo_size=1)


def dense(block: HaloAttention, x: Tensor) -> Tensor:
    """Pixel by pixel and key by key, in the dtype of x, for one image."""
    height, width = x.shape[2:]
    side, halo, heads, depth = block.block_size, block.halo_size, block.heads, block.dim_head
    q_rows = heads * depth
    value = (block.qkv.out_features - 2 * q_rows) // heads
    timm = isinstance(block, TimmHaloAttention)
    scale = 1 / math.sqrt(depth)
    scale_position = scale if not timm or block.scale_position else 1
    weight, bias = block.qkv.weight, block.qkv.bias
    projected = torch.einsum("oc,chw->ohw", weight, x[0])
    if bias is not None:
        projected = projected + bias[:, None, None]
    out = torch.zeros(heads * value, height, width, dtype=x.dtype)
    for head in range(heads):
        q = projected[head * depth : (head + 1) * depth]
        start = q_rows + head * (depth + value)
        k = projected[start : start + depth]
        v = projected[start + depth : start + depth + value]
        for y in range(height):
            for x_ in range(width):
                top, left = y // side * side - halo, x_ // side * side - halo
                logits, values = [], []
                for i in range(top, top + side + 2 * halo):
                    for j in range(left, left + side + 2 * halo):
                        inside = 0 <= i < height and 0 <= j < width
                        if not timm and not inside:
                            continue
                        reach = side + halo - 1
                        place = block.rel_height[i - y + reach] + block.rel_width[j - x_ + reach]
                        key = k[:, i, j] if inside else torch.zeros(depth, dtype=x.dtype)
                        logits.append(q[:, y, x_] @ key * scale + q[:, y, x_] @ place * scale_position)
                        values.append(v[:, i, j] if inside else torch.zeros(value, dtype=x.dtype))
                out[head * value : (head + 1) * value, y, x_] = torch.stack(logits).softmax(0) @ torch.stack(values)
    if isinstance(block.to_out, nn.Linear):
        out = torch.einsum("oc,chw->ohw", block.to_out.weight, out) + block.to_out.bias[:, None, None]
    return out[None]


@pytest.mark.parametrize("size", [(8, 4), (5, 7), (1, 2)], ids=str)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"block_size": 2, "halo_size": 1},
        {"block_size": 3, "halo_size": 0},
        {"kind": TimmHaloAttention, "scale_position": False, "out_dim": 12},
        {"kind": TimmHaloAttention, "scale_position": True, "block_size": 3, "halo_size": 1},
    ],
    ids=str,
)
@torch.no_grad()
def test_equals_dense_loop(size: tuple[int, int], settings: dict[str, Any]) -> None:
    block = make(6, **settings).double()
    x = torch.randn(1, 6, *size, dtype=torch.float64)
    torch.testing.assert_close(block(x), dense(block, x), rtol=0, atol=1e-11)


@pytest.mark.fast
@pytest.mark.parametrize("size", [(8, 8), (5, 7), (1, 1), (4, 13)], ids=str)
@torch.no_grad()
def test_keys_outside_the_map_get_no_attention(size: tuple[int, int]) -> None:
    """With all values one, whatever mass the padding takes is missing from the output; here it is exactly zero.

    The margin alone reaches outside at (8, 8), the padding to whole blocks as well at the other sizes.
    """
    block = make(6).double()
    block.to_out = nn.Identity()
    rows = block.qkv.weight[16:].view(2, 16, 6)
    rows[:, 8:] = 0
    rows[:, 8:, 0] = 1
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    x[:, 0] = 1
    expected = torch.ones(2, 16, *size, dtype=torch.float64)
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-14)
    leaky = make(6, TimmHaloAttention, out_dim=16, scale_position=True).double()
    leaky.load_state_dict(block.state_dict())
    assert leaky(x).min() < 0.9


@torch.no_grad()
def test_margin_bounds_what_a_pixel_sees() -> None:
    block = make().double()
    x = torch.randn(1, 32, 16, 16, dtype=torch.float64)
    far = x.clone()
    far[..., :3] += 1
    change = (block(far) - block(x)).abs().amax((0, 1, 2))
    assert (change[:8] > 0).all()
    assert (change[8:] == 0).all()


@torch.no_grad()
def test_commutes_with_shifts_by_whole_blocks() -> None:
    block = make().double()
    x = torch.zeros(1, 32, 32, 32, dtype=torch.float64)
    x[..., 8:20, 8:20] = torch.randn(32, 12, 12)
    shifted = block(x.roll((4, 4), (2, 3)))
    expected = block(x).roll((4, 4), (2, 3))
    torch.testing.assert_close(shifted[..., 8:-8, 8:-8], expected[..., 8:-8, 8:-8], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "settings",
    [{"heads": 0}, {"block_size": 0}, {"halo_size": -1}, {"dim_head": 0}],
    ids=str,
)
def test_impossible_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ChannelError, match="halo attention"):
        make(32, **settings)
