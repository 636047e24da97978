"""What blocks say they look at is what their forward does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.layers.test_dattn import bilinear
from tests.layers.test_hat import randomise
from zoo.layers.a2 import DoubleAttention
from zoo.layers.attention import Gates, Points
from zoo.layers.dattn import DeformableAttention
from zoo.layers.halo import HaloAttention
from zoo.layers.hat import HybridAttention, HybridAttentionBlock, HybridOptions, OverlappingCrossAttention
from zoo.layers.window_attention import WindowAttention

SIZES = [(8, 12), (7, 5), (1, 1)]
pytestmark = pytest.mark.fast


def ask(block: nn.Module, height: int, width: int) -> tuple[Tensor, Tensor, Any]:
    """A batch of two maps, every pixel of them as a query, and what the block says."""
    torch.manual_seed(4)
    x = torch.randn(2, 8, height, width, dtype=torch.float64)
    at = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    with torch.no_grad():
        return x, at, randomise(block).double().attention(x, at)


def heads_side_by_side(part: Points, height: int, width: int) -> Tensor:
    """What each query gathers by the weights told, `(B, C, H, W)`."""
    gathered = torch.einsum("bhnk,bhnkd->bnhd", part.weights, part.values).flatten(2)
    return gathered.transpose(1, 2).unflatten(2, (height, width))


def project(layer: nn.Linear | nn.Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, layer.weight.reshape(layer.weight.shape[0], -1, 1, 1), layer.bias)


def check_points(part: Points, height: int, width: int) -> None:
    torch.testing.assert_close(part.weights.sum(-1), torch.ones_like(part.weights[..., 0]))
    assert (part.weights >= 0).all()
    read = part.positions[part.weights > 0]
    assert (read >= 0).all() and (read <= torch.tensor([height - 1, width - 1])).all()


@pytest.mark.parametrize("size", SIZES, ids=str)
@torch.no_grad()
def test_halo_attention(size: tuple[int, int]) -> None:
    block = HaloAttention(8, heads=2, dim_head=4, block_size=4, halo_size=1)
    x, at, parts = ask(block, *size)
    part = parts["block and halo"]
    check_points(part, *size)
    torch.testing.assert_close(project(block.to_out, heads_side_by_side(part, *size)), block(x))
    v = project(block.qkv, x)[:, 8:].unflatten(1, (2, 2, 4))[:, :, 1]  # per head: keys, then values
    check_values(part, v)
    distance = (part.positions[0, 0] // 4 * 4 - at[:, None] // 4 * 4).abs()
    assert (distance[part.weights[0, 0] > 0] <= 4).all()


def check_values(part: Points, v: Tensor) -> None:
    """Values `(B, heads, d, H, W)` are those at the positions told, wherever a query gives weight."""
    rows, columns = part.positions[0, 0].long().unbind(-1)
    expected = v[..., rows, columns].permute(0, 1, 3, 4, 2)
    given = part.weights > 0
    torch.testing.assert_close(part.values[given], expected[given])


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("settings", [{}, {"groups": 2}, {"stride": 2}, {"offset_range": None}], ids=str)
@torch.no_grad()
def test_deformable_attention(size: tuple[int, int], settings: dict[str, Any]) -> None:
    block = DeformableAttention(8, **{"heads": 4, "groups": 1, **settings})
    x, _, parts = ask(block, *size)
    part = parts["sampling points"]
    check_points(part, *size)
    y = project(block.proj_out, heads_side_by_side(part, *size) + block.rpe(block.proj_q(x)))
    torch.testing.assert_close(y, block(x))
    for head in range(4):
        channels = slice(head // (4 // block.groups) * (8 // block.groups), None)
        channels = slice(channels.start, channels.start + 8 // block.groups)
        for n, (row, column) in enumerate(part.positions[0, head, 0].tolist()):
            sampled = torch.zeros(8, dtype=x.dtype)
            for c in range(8):
                group = c // (8 // block.groups)
                where = part.positions[0, group * (4 // block.groups), 0, n].tolist()
                sampled[c] = bilinear(x[0, c], *where)
            value = block.proj_v.weight[:, :, 0, 0] @ sampled + block.proj_v.bias
            torch.testing.assert_close(part.values[0, head, 0, n], value[2 * head : 2 * head + 2])
            assert [row, column] == part.positions[0, head, -1, n].tolist()


@torch.no_grad()
def test_points_start_at_the_middles_of_their_cells() -> None:
    _, _, parts = ask(DeformableAttention(8, heads=2, groups=1, stride=2), 5, 6)
    rows, columns = torch.tensor([0.5, 2.5, 4.0]), torch.tensor([0.5, 2.5, 4.5])
    torch.testing.assert_close(parts["sampling points"].origins[1, 1, 3], torch.cartesian_prod(rows, columns).double())


@pytest.mark.parametrize("size", SIZES, ids=str)
@torch.no_grad()
def test_double_attention(size: tuple[int, int]) -> None:
    block = DoubleAttention(8)
    x, _, parts = ask(block, *size)
    part = parts["descriptors"]
    torch.testing.assert_close(part.gathered.sum((2, 3)), torch.ones(2, 4, dtype=x.dtype))
    torch.testing.assert_close(part.given.sum(1), torch.ones(2, *size, dtype=x.dtype))
    descriptors = torch.einsum("bchw,bnhw->bcn", block.convA(x), part.gathered)
    y = project(block.conv_reconstruct, torch.einsum("bcn,bnhw->bchw", descriptors, part.given))
    torch.testing.assert_close(y, block(x))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("shift", [0, 2])
@torch.no_grad()
def test_windows(size: tuple[int, int], shift: int) -> None:
    block = randomise(WindowAttention(8, 2, 4, shift)).double()
    x = torch.randn(2, *size, 8, dtype=torch.float64)
    at = torch.cartesian_prod(*map(torch.arange, size))
    part = block.attention(x, at)
    check_points(part, *size)
    y = project(block.proj, heads_side_by_side(part, *size)).permute(0, 2, 3, 1)
    torch.testing.assert_close(y, block(x))
    check_values(part, project(block.qkv, x.permute(0, 3, 1, 2))[:, 16:].unflatten(1, (2, 4)))


@pytest.mark.parametrize("size", SIZES, ids=str)
@torch.no_grad()
def test_overlapping_windows(size: tuple[int, int]) -> None:
    block = OverlappingCrossAttention(8, 2, HybridOptions(4))
    x, _, parts = ask(block, *size)
    part = parts["overlapping window"]
    check_points(part, *size)
    normed = F.layer_norm(x.permute(0, 2, 3, 1), (8,), block.norm1.weight, block.norm1.bias)
    y = project(block.proj, heads_side_by_side(part, *size)).permute(0, 2, 3, 1)
    torch.testing.assert_close(y, block.attend(normed))
    check_values(part, project(block.qkv, normed.permute(0, 3, 1, 2))[:, 16:].unflatten(1, (2, 4)))


@torch.no_grad()
def test_hybrid_block_tells_its_window_and_its_channels() -> None:
    block = HybridAttentionBlock(8, 2, HybridOptions(4), shift_size=2)
    x, _, parts = ask(block, 7, 5)
    assert list(parts) == ["shifted window", "channels"]
    seen: list[Tensor] = []
    block.conv_block.cab[3].attention.register_forward_hook(lambda _, __, gate: seen.append(gate))
    block(x)
    assert isinstance(parts["channels"], Gates)
    torch.testing.assert_close(parts["channels"].channels, seen[0].flatten(1))


@pytest.mark.parametrize(
    ("make", "fold"),
    [
        (lambda: HybridAttention(8, embed_dim=8, heads=(2, 2), depths=(2, 1), window_size=4), 1),
        (lambda: HybridAttention(8, embed_dim=8, heads=(2,), depths=(1,), window_size=4, fold=3), 3),
    ],
)
@torch.no_grad()
def test_every_attention_of_a_body_is_told_in_order(make: Callable[[], nn.Module], fold: int) -> None:
    block = make()
    x, at, parts = ask(block, 14, 10)
    seen: list[Tensor] = []
    for part in block.modules():
        if isinstance(part, WindowAttention | OverlappingCrossAttention):
            part.proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    block(x)
    told = [part for part in parts.values() if isinstance(part, Points)]
    assert len(told) == len(seen) == (5 if fold == 1 else 2)
    assert sum("channels" in name for name in parts) == len(told) - (2 if fold == 1 else 1)
    for part, windows in zip(told, seen, strict=True):
        gathered = torch.einsum("bhnk,bhnkd->bnhd", part.weights, part.values).flatten(2)
        distances = torch.cdist(gathered, windows.flatten(1, 2)).min(-1).values
        assert distances.max() < 1e-5
        middle = (at // fold * fold + (fold - 1) / 2).double()
        same = (part.positions[0, 0] == middle[:, None]).all(-1)
        assert (same.sum(-1) >= 1).all()
