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
from zoo.layers import blocks
from zoo.layers.a2 import DoubleAttention
from zoo.layers.attention import Gates, Points, told
from zoo.layers.biformer import BiLevelRoutingAttention
from zoo.layers.dattn import DeformableAttention
from zoo.layers.halo import HaloAttention
from zoo.layers.hat import HybridAttention, HybridAttentionBlock, HybridOptions, OverlappingCrossAttention
from zoo.layers.hat_stem import HybridAttentionStem
from zoo.layers.window_attention import WindowAttention

SIZES = [(8, 12), (7, 5), (1, 1)]
pytestmark = pytest.mark.fast


def ask(block: nn.Module, height: int, width: int) -> tuple[Tensor, Tensor, Any]:
    """A batch of two maps, every pixel of them as a query, and what the block says."""
    torch.manual_seed(4)
    x = torch.randn(2, 8, height, width, dtype=torch.float64)
    at = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    with torch.no_grad():
        return x, at, told(randomise(block).double(), x, at)


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
    for image, positions, weights, values in zip(v, part.positions, part.weights, part.values, strict=True):
        given = weights[0] > 0
        rows, columns = positions[0][given].long().unbind(-1)
        torch.testing.assert_close(values[:, given], image[..., rows, columns].transpose(1, 2))


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


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("topk", [1, 3, 9])
@torch.no_grad()
def test_bi_level_routing_attention(size: tuple[int, int], topk: int) -> None:
    block = BiLevelRoutingAttention(8, heads=2, regions=3, topk=topk, kernel_size=3)
    x, at, parts = ask(block, *size)
    part = parts["regions chosen"]
    check_points(part, *size)
    v = block.qkv(x)[:, 16:]
    torch.testing.assert_close(project(block.project, heads_side_by_side(part, *size) + block.local(v)), block(x))
    check_values(part, v.unflatten(1, (2, 4)))
    sides = torch.tensor([-(-side // 3) for side in size])
    for query in range(len(at)):
        read = part.positions[0, 0, query][part.weights[0, 0, query] > 0].long()
        whole, count = torch.unique(read // sides, dim=0, return_counts=True)
        assert len(whole) <= topk
        for region, found in zip(whole, count, strict=True):
            ends = torch.minimum((region + 1) * sides, torch.tensor(size))
            assert found == (ends - region * sides).prod()


@pytest.mark.parametrize("size", SIZES, ids=str)
@torch.no_grad()
def test_non_local_attention(size: tuple[int, int]) -> None:
    block = blocks.build("nl", 8, {}).eval()
    x, _, parts = ask(block, *size)
    part = parts["all pixels"]
    check_points(part, *size)
    check_values(part, project(block.attn.g, x).unsqueeze(1))
    assert (part.weights > 0).all()
    torch.testing.assert_close(block.attn.norm(project(block.attn.z, heads_side_by_side(part, *size))), block(x))


@pytest.mark.parametrize("size", SIZES, ids=str)
@torch.no_grad()
def test_added_global_context(size: tuple[int, int]) -> None:
    block = blocks.build("gca", 8, {}).eval()
    x, _, parts = ask(block, *size)
    part = parts["context"]
    torch.testing.assert_close(part.gathered.sum((2, 3)), torch.ones(2, 1, dtype=x.dtype))
    torch.testing.assert_close(part.given.sum(1), torch.ones(2, *size, dtype=x.dtype))
    context = (x * part.gathered).sum((2, 3), keepdim=True)
    torch.testing.assert_close(block.attn.mlp_add(context).expand_as(x), block(x))


@torch.no_grad()
def test_selective_kernels_tell_the_share_of_either() -> None:
    block = blocks.build("sk", 8, {}).eval()
    x, _, parts = ask(block, 7, 5)
    halves = zip(block.attn.paths, x.chunk(2, 1), parts.values(), strict=True)
    shares = [convolution(half) * part.channels[:, :, None, None] for convolution, half, part in halves]
    torch.testing.assert_close(sum(shares), block(x))


@pytest.mark.parametrize("radix", [2, 4])
@torch.no_grad()
def test_split_attention_tells_the_share_of_each(radix: int) -> None:
    block = blocks.build("splat", 8, {"radix": radix}).eval()
    x, _, parts = ask(block, 7, 5)
    maps = block.attn.act0(block.attn.bn0(block.attn.conv(x))).chunk(radix, 1)
    shares = [one * part.channels[:, :, None, None] for one, part in zip(maps, parts.values(), strict=True)]
    torch.testing.assert_close(sum(shares), block(x))


@torch.no_grad()
def test_a_stem_tells_what_its_body_does_of_folded_pixels() -> None:
    block = HybridAttentionStem(8, reduction=2, embed_dim=8, heads=(2,), depths=(1,), window_size=4)
    x, at, parts = ask(block, 13, 9)
    of_body = block.attention.attention(F.pixel_unshuffle(F.pad(x, (0, 1, 0, 1)), 2), at // 2)
    assert list(parts) == list(of_body) and any(isinstance(part, Points) for part in parts.values())
    for name, part in parts.items():
        if isinstance(part, Points):
            assert torch.equal(part.positions, of_body[name].positions * 2 + 0.5)
            assert torch.equal(part.weights, of_body[name].weights)


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
    points = [part for part in parts.values() if isinstance(part, Points)]
    assert len(points) == len(seen) == (5 if fold == 1 else 2)
    assert sum("channels" in name for name in parts) == len(points) - (2 if fold == 1 else 1)
    for part, windows in zip(points, seen, strict=True):
        gathered = torch.einsum("bhnk,bhnkd->bnhd", part.weights, part.values).flatten(2)
        distances = torch.cdist(gathered, windows.flatten(1, 2)).min(-1).values
        assert distances.max() < 1e-5
        middle = (at // fold * fold + (fold - 1) / 2).double()
        same = (part.positions[0, 0] == middle[:, None]).all(-1)
        assert (same.sum(-1) >= 1).all()
