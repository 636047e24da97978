"""Deformable attention."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.layers.contract import BlockContract
from tests.layers.official import Nothing, OfficialDeformableAttention
from zoo.errors import ChannelError
from zoo.layers.dattn import DeformableAttention


def make(
    dim: int = 32, *, move: float = 5.0, kind: type[DeformableAttention] = DeformableAttention, **settings: Any
) -> DeformableAttention:
    """A block whose offsets are `move` times those of a new one, so that they matter."""
    torch.manual_seed(3)
    block = kind(dim, **{"heads": 4, "groups": 2, **settings}).eval()
    block.conv_offset[3].weight.data.mul_(move)
    return block


class TestContract(BlockContract):
    def make(self) -> nn.Module:
        return make()


class TestStridedContract(BlockContract):
    def make(self) -> nn.Module:
        return make(stride=4, offset_range=None)


def bilinear(plane: Tensor, y: float, x: float) -> float:
    """Value of a map between its pixels, whose centres are at whole numbers; the border continues outwards."""
    height, width = plane.shape
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    fy, fx = y - top, x - left
    upper = (1 - fx) * plane[top, left] + fx * plane[top, right]
    lower = (1 - fx) * plane[bottom, left] + fx * plane[bottom, right]
    return float((1 - fy) * upper + fy * lower)


def cell_centre(index: int, stride: int, size: int) -> float:
    """Mean of the pixel numbers that cell `index` holds."""
    pixels = range(index * stride, min((index + 1) * stride, size))
    return sum(pixels) / len(pixels)


def dense(block: DeformableAttention, x: Tensor) -> Tensor:
    """Pixel by pixel, point by point, in float64, for one image; positions in pixels instead of [-1, 1]."""
    _, dim, height, width = x.shape
    heads, groups, stride = block.heads, block.groups, block.stride
    part, depth = dim // groups, dim // heads
    q = F.conv2d(x, block.proj_q.weight, block.proj_q.bias)[0]
    depthwise, norm, _, last = block.conv_offset
    points = []
    sampled = []
    for group in range(groups):
        rows = slice(group * part, (group + 1) * part)
        hidden = F.conv2d(
            q[None, rows], depthwise.weight, depthwise.bias, stride, padding=depthwise.kernel_size[0] // 2, groups=part
        )[0]
        count_y, count_x = hidden.shape[1:]
        assert (count_y, count_x) == (-(-height // stride), -(-width // stride))
        for i in range(count_y):
            for j in range(count_x):
                normal = (hidden[:, i, j] - hidden[:, i, j].mean()) / (
                    hidden[:, i, j].var(unbiased=False) + norm.eps
                ).sqrt()
                move = last.weight[:, :, 0, 0] @ F.gelu(normal * norm.weight + norm.bias)
                if block.offset_range is None:
                    dy, dx = (move * torch.tensor([height / 2, width / 2])).tolist()
                else:
                    dy, dx = (move.tanh() * block.offset_range * stride).tolist()
                y, x_ = cell_centre(i, stride, height) + dy, cell_centre(j, stride, width) + dx
                if block.offset_range is None:
                    y, x_ = min(max(y, -0.5), height - 0.5), min(max(x_, -0.5), width - 0.5)
                points.append((y, x_))
                sampled.append([bilinear(x[0, c], y, x_) for c in range(rows.start, rows.stop)])
    keys = count_y * count_x
    sampled = torch.tensor(sampled, dtype=x.dtype).view(groups, keys, part).transpose(1, 2).reshape(dim, keys)
    k = block.proj_k.weight[:, :, 0, 0] @ sampled
    v = block.proj_v.weight[:, :, 0, 0] @ sampled + block.proj_v.bias[:, None]
    out = torch.empty(dim, height, width, dtype=x.dtype)
    for head in range(heads):
        rows = slice(head * depth, (head + 1) * depth)
        for i in range(height):
            for j in range(width):
                logits = k[rows].T @ q[rows, i, j] / math.sqrt(depth)
                out[rows, i, j] = v[rows] @ logits.softmax(0)
    out = out + F.conv2d(q[None], block.rpe.weight, block.rpe.bias, padding=1, groups=dim)[0]
    return F.conv2d(out[None], block.proj_out.weight, block.proj_out.bias)


@pytest.mark.parametrize("size", [(4, 6), (5, 3), (1, 7)], ids=str)
@pytest.mark.parametrize(
    "settings",
    [
        {"stride": 1},
        {"stride": 2},
        {"stride": 3, "kernel_size": 3},
        {"stride": 2, "offset_range": None},
    ],
    ids=str,
)
@torch.no_grad()
def test_equals_dense_loop(size: tuple[int, int], settings: dict[str, Any]) -> None:
    block = make(8, move=30.0, **settings).double()
    x = torch.randn(1, 8, *size, dtype=torch.float64)
    torch.testing.assert_close(block(x), dense(block, x), rtol=0, atol=1e-10)


@torch.no_grad()
def sample_unmoved(x: Tensor, **settings: Any) -> Tensor:
    """What the block reads at its reference points."""
    block = make(x.shape[1], move=0.0, **settings).double()
    seen = []
    block.proj_v.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    block(x)
    return seen[0]


@pytest.mark.fast
@pytest.mark.parametrize("size", [(6, 8), (7, 5), (1, 1), (160, 3)], ids=str)
def test_unmoved_points_are_pixel_centres(size: tuple[int, int]) -> None:
    x = torch.randn(2, 8, *size, dtype=torch.float64)
    torch.testing.assert_close(sample_unmoved(x), x, rtol=0, atol=1e-11)


@pytest.mark.parametrize("stride", [2, 3, 4, 8])
def test_unmoved_points_are_cell_centres(stride: int) -> None:
    height, width = 13, 16
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    ramp = torch.stack((y, x)).double().repeat(4, 1, 1)[None]
    found = sample_unmoved(ramp, stride=stride)[0, :2]
    rows = [cell_centre(i, stride, height) for i in range(-(-height // stride))]
    columns = [cell_centre(i, stride, width) for i in range(-(-width // stride))]
    expected = torch.stack(torch.meshgrid(torch.tensor(rows), torch.tensor(columns), indexing="ij")).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.fast
def test_official_grid_is_half_a_cell_off() -> None:
    """The defect that the zoo corrects: the last point leaves the map and reads zeros."""
    x = torch.ones(1, 8, 1, 9, dtype=torch.float64) * torch.arange(9.0)
    found = sample_unmoved(x, kind=OfficialDeformableAttention)[0, 0, 0]
    torch.testing.assert_close(found, torch.tensor([0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 4.0]).double())


@torch.no_grad()
def test_unmoved_attention_commutes_with_permutations_of_pixels() -> None:
    block = make(move=0.0).double()
    block.rpe = Nothing()
    x = torch.randn(1, 32, 5, 6, dtype=torch.float64)
    order = torch.randperm(30)
    shuffled = x.flatten(2)[..., order].view_as(x)
    expected = block(x).flatten(2)[..., order].view_as(x)
    torch.testing.assert_close(block(shuffled), expected, rtol=0, atol=1e-11)


@torch.no_grad()
def test_points_move_no_further_than_their_range() -> None:
    """Through the largest offsets a ramp is read at most `offset_range` cells from each cell's centre."""
    block = make(8, move=1e4, stride=2, offset_range=1.5).double()
    seen = []
    block.proj_v.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    ramp = torch.arange(40.0, dtype=torch.float64).expand(1, 8, 40, 40)
    block(ramp + 1e-6 * torch.randn_like(ramp))
    moved = seen[0][..., 4:-4] - sample_unmoved(ramp, stride=2)[..., 4:-4]
    assert 2.9 < moved.abs().max() < 3.01


def test_keys_bias_has_no_effect() -> None:
    block = make(kind=OfficialDeformableAttention, key_bias=True).double()
    x = torch.randn(1, 32, 6, 6, dtype=torch.float64)
    before = block(x)
    nn.init.normal_(block.proj_k.bias)
    torch.testing.assert_close(block(x), before, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    "settings",
    [
        {"heads": 5},
        {"heads": 4, "groups": 3},
        {"heads": 0},
        {"heads": 4, "kernel_size": 4},
    ],
    ids=str,
)
def test_impossible_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ChannelError, match="deformable attention"):
        DeformableAttention(32, **settings)
