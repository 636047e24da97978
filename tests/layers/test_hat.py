"""Hybrid attention: its blocks, its group and the whole body."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.layers.contract import BlockContract
from tests.layers.official import OfficialBody, convert, official_hat
from zoo.errors import ChannelError
from zoo.layers.hat import (
    HybridAttention,
    HybridAttentionBlock,
    HybridAttentionBody,
    HybridOptions,
    OverlappingCrossAttention,
    ResidualHybridGroup,
    WindowAttention,
)


def randomise(block: nn.Module) -> nn.Module:
    """Parameters large enough for every branch to matter, the same at every call."""
    generator = torch.Generator().manual_seed(3)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=1 / math.sqrt(max(parameter[0].numel(), 9)), generator=generator)
    return block.eval()


class TestHybridBlockContract(BlockContract):
    def make(self) -> nn.Module:
        return randomise(HybridAttentionBlock(32, 4, HybridOptions(conv_scale=0.5), shift_size=4))


class TestOverlappingContract(BlockContract):
    def make(self) -> nn.Module:
        return randomise(OverlappingCrossAttention(32, 4, HybridOptions(4)))


class TestBodyContract(BlockContract):
    def make(self) -> nn.Module:
        torch.manual_seed(3)
        return HybridAttention(32, embed_dim=24, heads=(4,)).eval()


class TestFoldedContract(BlockContract):
    def make(self) -> nn.Module:
        torch.manual_seed(3)
        return HybridAttention(32, embed_dim=16, depths=(1,), fold=2).eval()


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor) -> Tensor:
    """One query `(C,)` over keys and values `(M, C)` with a bias `(M, heads)`, head by head."""
    depth = len(q) // heads
    out = []
    for head in range(heads):
        part = slice(head * depth, (head + 1) * depth)
        out.append((k[:, part] @ q[part] / math.sqrt(depth) + bias[:, head]).softmax(0) @ v[:, part])
    return torch.cat(out)


def dense_windows(block: WindowAttention, x: Tensor) -> Tensor:
    """Window attention by its definition: neighbours are the pixels of the map that share a shifted window."""
    height, width, _ = x.shape
    window, shift = block.window_size, block.shift_size
    q, k, v = F.linear(x, block.qkv.weight, block.qkv.bias).chunk(3, -1)
    out = torch.empty_like(x)
    pixels = list(product(range(height), range(width)))

    def home(y: int, x: int) -> tuple[int, int]:
        return (y - shift) // window, (x - shift) // window

    for i, j in pixels:
        keys = [pixel for pixel in pixels if home(*pixel) == home(i, j)]
        rows, columns = torch.tensor(keys).T
        index = (i - rows + window - 1) * (2 * window - 1) + j - columns + window - 1
        bias = block.relative_position_bias_table[index]
        out[i, j] = attention(q[i, j], k[rows, columns], v[rows, columns], block.heads, bias)
    return F.linear(out, block.proj.weight, block.proj.bias)


def dense_overlap(block: OverlappingCrossAttention, x: Tensor) -> Tensor:
    """Overlapping attention by its definition, on `(H, W, C)`."""
    height, width, dim = x.shape
    window, margin = block.window_size, block.margin
    q, k, v = F.linear(x, block.qkv.weight, block.qkv.bias).chunk(3, -1)
    out = torch.empty_like(x)
    for i, j in product(range(height), range(width)):
        top, left = i // window * window - margin, j // window * window - margin
        keys, values, bias = [], [], []
        for a, b in product(range(window + 2 * margin), repeat=2):
            inside = 0 <= top + a < height and 0 <= left + b < width
            if type(block) is OverlappingCrossAttention and not inside:
                continue
            keys.append(k[top + a, left + b] if inside else x.new_zeros(dim))
            values.append(v[top + a, left + b] if inside else x.new_zeros(dim))
            row = (a - i % window + window - 1) * (2 * window + 2 * margin - 1) + b - j % window + window - 1
            bias.append(block.relative_position_bias_table[row])
        out[i, j] = attention(q[i, j], torch.stack(keys), torch.stack(values), block.heads, torch.stack(bias))
    return F.linear(out, block.proj.weight, block.proj.bias)


SIZES = [(8, 12), (7, 9), (3, 4), (1, 5), (1, 1)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("window", "shift"), [(4, 0), (4, 2), (5, 1)])
@torch.no_grad()
def test_window_attention_equals_dense_loop(size: tuple[int, int], window: int, shift: int) -> None:
    block = randomise(WindowAttention(6, 2, window, shift)).double()
    x = torch.randn(2, *size, 6, dtype=torch.float64)
    expected = torch.stack([dense_windows(block, image) for image in x])
    torch.testing.assert_close(block(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("window", "ratio"), [(4, 0.5), (3, 0.0), (3, 1.4)])
@pytest.mark.parametrize("official", [False, True])
@torch.no_grad()
def test_overlapping_attention_equals_dense_loop(
    size: tuple[int, int], window: int, ratio: float, official: bool
) -> None:
    block = randomise(OverlappingCrossAttention(6, 2, HybridOptions(window, overlap_ratio=ratio))).double()
    block = official_hat(block, *size) if official else block
    x = torch.randn(2, *size, 6, dtype=torch.float64)
    expected = torch.stack([dense_overlap(block, image) for image in x])
    torch.testing.assert_close(block.attend(x), expected, rtol=0, atol=1e-12)


@pytest.mark.fast
@torch.no_grad()
def test_hybrid_block_is_the_sum_of_its_branches() -> None:
    block = randomise(HybridAttentionBlock(6, 2, HybridOptions(4, conv_scale=0.5), shift_size=2)).double()
    x = torch.randn(1, 6, 7, 9, dtype=torch.float64)
    tokens = x[0].permute(1, 2, 0)
    normed = F.layer_norm(tokens, (6,), block.norm1.weight, block.norm1.bias)
    first, _, second, gate = block.conv_block.cab
    conv = F.conv2d(normed.permute(2, 0, 1)[None], first.weight, first.bias, padding=1)
    conv = F.conv2d(F.gelu(conv), second.weight, second.bias, padding=1)
    _, squeeze, _, excite, _ = gate.attention
    pooled = squeeze.weight[:, :, 0, 0] @ conv[0].mean((1, 2)) + squeeze.bias
    scale = (excite.weight[:, :, 0, 0] @ pooled.relu() + excite.bias).sigmoid()
    tokens = tokens + dense_windows(block.attn, normed) + 0.5 * scale * conv[0].permute(1, 2, 0)
    normed = F.layer_norm(tokens, (6,), block.norm2.weight, block.norm2.bias)
    hidden = F.gelu(F.linear(normed, block.mlp.fc1.weight, block.mlp.fc1.bias))
    tokens = tokens + F.linear(hidden, block.mlp.fc2.weight, block.mlp.fc2.bias)
    torch.testing.assert_close(block(x)[0], tokens.permute(2, 0, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(8, 8), (5, 7), (1, 1), (4, 13)], ids=str)
@pytest.mark.parametrize("kind", ["window", "shifted", "overlapping"])
@torch.no_grad()
def test_padding_gets_no_attention(size: tuple[int, int], kind: str) -> None:
    """With all values one, whatever mass a key outside the map takes would be missing from the output."""
    overlapping = OverlappingCrossAttention(6, 2, HybridOptions(4))
    block = overlapping if kind == "overlapping" else WindowAttention(6, 2, 4, 2 if kind == "shifted" else 0)
    attend = overlapping.attend if block is overlapping else block
    randomise(block).double()
    block.qkv.weight[12:], block.qkv.bias[12:] = 0, 1
    block.proj.weight.copy_(torch.eye(6))
    block.proj.bias.zero_()
    x = torch.randn(2, *size, 6, dtype=torch.float64)
    torch.testing.assert_close(attend(x), torch.ones_like(x), rtol=0, atol=1e-14)
    if block is overlapping:
        official_hat(overlapping, *size)
        assert attend(x).min() < 0.9


@pytest.mark.parametrize("shift", [0, 4])
@torch.no_grad()
def test_windows_bound_what_a_pixel_sees(shift: int) -> None:
    block = randomise(WindowAttention(8, 2, 8, shift)).double()
    x = torch.randn(1, 24, 24, 8, dtype=torch.float64)
    other = x.clone()
    other[:, 10, 13] += 1
    changed = (block(other) != block(x)).any(-1)[0]
    top, left = (8, 8) if shift == 0 else (4, 12)
    expected = torch.zeros(24, 24, dtype=torch.bool)
    expected[top : top + 8, left : left + 8] = True
    assert torch.equal(changed, expected)


@torch.no_grad()
def test_overlap_lets_a_pixel_into_the_windows_around_it() -> None:
    block = randomise(OverlappingCrossAttention(8, 2, HybridOptions())).double()
    x = torch.randn(1, 24, 24, 8, dtype=torch.float64)
    other = x.clone()
    other[:, 9, 12] += 1
    changed = (block.attend(other) != block.attend(x)).any(-1)[0]
    expected = torch.zeros(24, 24, dtype=torch.bool)
    expected[:16, 8:16] = True
    assert torch.equal(changed, expected)


@pytest.mark.parametrize(
    "block",
    [WindowAttention(8, 2, 4, 0), WindowAttention(8, 2, 4, 2)],
    ids=["window", "shifted"],
)
@torch.no_grad()
def test_commutes_with_shifts_by_whole_windows(block: WindowAttention) -> None:
    randomise(block).double()
    x = torch.randn(1, 24, 24, 8, dtype=torch.float64)
    shifted = block(x.roll((4, 8), (1, 2)))
    torch.testing.assert_close(shifted[:, 8:-4, 12:-4], block(x)[:, 4:-8, 4:-12], rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(13, 11), (3, 9), (1, 2)], ids=str)
@torch.no_grad()
def test_reflection_pads_the_whole_body(size: tuple[int, int]) -> None:
    """Equal to the body on the image that numpy mirrors, cropped."""
    body = HybridAttentionBody(3, 12, (2,), (2,), HybridOptions(4))
    randomise(official_hat(body, *size)).double()
    assert isinstance(body, OfficialBody)
    x = torch.randn(1, 3, *size, dtype=torch.float64)
    padded = numpy.pad(x.numpy(), ((0, 0), (0, 0), (0, -size[0] % 4), (0, -size[1] % 4)), mode="reflect")
    expected = body(torch.from_numpy(padded))[..., : size[0], : size[1]]
    torch.testing.assert_close(body(x), expected, rtol=0, atol=1e-12)


def test_every_row_of_the_position_tables_gets_a_gradient() -> None:
    block = HybridAttention(16, embed_dim=16, heads=(2,))
    block(torch.randn(1, 16, 16, 16)).square().sum().backward()
    for name, parameter in block.named_parameters():
        if name.endswith("table"):
            assert (parameter.grad.abs().amax(1) > 0).all(), name


def test_small_bodies_keep_hidden_units_in_the_channel_attention() -> None:
    block = HybridAttentionBlock(32, 2, HybridOptions())
    assert block.conv_block.cab[3].attention[1].out_channels == 8


@torch.no_grad()
def test_loads_an_official_checkpoint() -> None:
    """Buffers and the super-resolution head of the official network are left out; everything else is used."""
    body = HybridAttentionBody(3, 12, (2,), (2,), HybridOptions(4))
    official = {"relative_position_index_SA": torch.zeros(16, 16), "conv_last.weight": torch.zeros(3, 12, 3, 3)}
    for name, tensor in body.state_dict().items():
        name = name.replace(".blocks.", ".residual_group.blocks.").replace("norm_first", "patch_embed.norm")
        official[name.replace(".overlap_attn.", ".residual_group.overlap_attn.")] = tensor + 1
    body.load_state_dict(convert(body, official))
    assert (body.norm_first.weight == 2).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HybridAttention(32, embed_dim=30, heads=(4,)), "divisor of 30"),
        (lambda: HybridAttention(32, embed_dim=32, depths=(2, 2), heads=(2,)), "one head count a group"),
        (lambda: HybridAttention(32, embed_dim=32, window_size=7), "must be even"),
        (lambda: HybridAttention(32, fold=0), "fold must be at least 1"),
        (lambda: HybridAttentionBlock(32, 4, HybridOptions(), shift_size=8), "shift_size"),
        (lambda: HybridAttentionBlock(32, 4, HybridOptions(compress_ratio=33)), "compress_ratio"),
        (lambda: HybridOptions(window_size=0), "window_size"),
        (lambda: ResidualHybridGroup(32, 2, 0, HybridOptions()), "0 heads"),
    ],
)
def test_impossible_settings(make: Any, message: str) -> None:
    with pytest.raises(ChannelError, match=message):
        make()
