"""Bi-level routing attention."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.layers.contract import BlockContract
from zoo.errors import ChannelError
from zoo.layers.biformer import BiLevelRoutingAttention


def make(dim: int = 32, **settings: Any) -> BiLevelRoutingAttention:
    torch.manual_seed(3)
    return BiLevelRoutingAttention(dim, **settings).eval()


class TestContract(BlockContract):
    def make(self) -> nn.Module:
        return make(heads=2, regions=3, topk=2)


class TestDefaultsContract(BlockContract):
    channels = 64

    def make(self) -> nn.Module:
        return make(64)


def dense(block: BiLevelRoutingAttention, x: Tensor) -> Tensor:
    """Section 3.2 of the paper for one image: lists of pixels, no padding, one pixel and head at a time."""
    dim, height, width = x.shape
    weight, bias = block.qkv.weight[:, :, 0, 0], block.qkv.bias
    projected = {(i, j): (weight @ x[:, i, j] + bias).split(dim) for i in range(height) for j in range(width)}
    rows, columns = math.ceil(height / block.regions), math.ceil(width / block.regions)
    members: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for i, j in projected:
        members.setdefault((i // rows, j // columns), []).append((i, j))

    def mean(region: tuple[int, int], part: int) -> Tensor:
        return sum(projected[pixel][part] for pixel in members[region]) / len(members[region])

    out = torch.zeros_like(x)
    width_of_head = dim // block.heads
    for region, pixels in members.items():
        akin = sorted(members, key=lambda other: -(mean(region, 0) @ mean(other, 1)).item())[: block.topk]
        seen = [pixel for other in akin for pixel in members[other]]
        for pixel in pixels:
            for head in range(block.heads):
                part = slice(head * width_of_head, (head + 1) * width_of_head)
                query = projected[pixel][0][part] / width_of_head**0.5
                weights = [torch.exp(query @ projected[other][1][part]) for other in seen]
                total = sum(w * projected[other][2][part] for w, other in zip(weights, seen, strict=True))
                out[(part, *pixel)] = total / sum(weights)
    reach = block.local.kernel_size[0] // 2
    for i, j in projected:
        out[:, i, j] += block.local.bias
        for (k, m), (_, _, value) in projected.items():
            if abs(k - i) <= reach and abs(m - j) <= reach:
                out[:, i, j] += block.local.weight[:, 0, k - i + reach, m - j + reach] * value
    return torch.einsum("oc,chw->ohw", block.project.weight[:, :, 0, 0], out) + block.project.bias[:, None, None]


@pytest.mark.fast
@pytest.mark.parametrize("size", [(6, 6), (5, 7), (7, 4), (1, 3), (1, 1)], ids=str)
@pytest.mark.parametrize(
    "settings",
    [{"heads": 1, "topk": 1}, {"heads": 2, "topk": 3, "kernel_size": 3}, {"heads": 4, "topk": 9, "kernel_size": 1}],
    ids=str,
)
@torch.no_grad()
def test_equals_dense_loop(size: tuple[int, int], settings: dict[str, int]) -> None:
    block = make(8, regions=3, **settings).double()
    x = torch.randn(2, 8, *size, dtype=torch.float64)
    expected = torch.stack([dense(block, image) for image in x])
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_routed_to_everything_it_is_plain_attention() -> None:
    block = make(16, heads=2, regions=4, topk=16).double()
    x = torch.randn(1, 16, 10, 9, dtype=torch.float64)
    q, k, v = (t.flatten(2).unflatten(1, (2, 8)).transpose(2, 3) for t in block.qkv(x).chunk(3, 1))
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(1, 16, 10, 9)
    expected = block.project(out + block.local(block.qkv(x)[:, 32:]))
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dim", "heads"), [(3, 1), (16, 1), (64, 2), (80, 2), (144, 4), (256, 8)])
def test_default_heads_have_32_channels_or_more(dim: int, heads: int) -> None:
    assert BiLevelRoutingAttention(dim).heads == heads


@pytest.mark.parametrize(
    "settings", [{"heads": 3}, {"heads": 0}, {"topk": 50}, {"topk": 0}, {"kernel_size": 4}, {"regions": 0}], ids=str
)
def test_impossible_settings(settings: dict[str, int]) -> None:
    with pytest.raises(ChannelError, match="heads to divide its channels"):
        BiLevelRoutingAttention(32, **settings)
