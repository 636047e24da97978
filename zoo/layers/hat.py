"""Hybrid attention of HAT: windows, channels, and windows that overlap (Chen et al. 2022, arXiv 2205.04437).

Every block maps `(B, dim, H, W)` to `(B, dim, H, W)` at any H and W. Maps that windows do not tile are padded at the
bottom and right, inside the attention only: convolutions, pooling and normalisation never see the padding, and it
gets exactly zero attention mass. Inside, maps are carried channels-last, `(B, H, W, C)`.

The straightforward twin of every block here is in `benchmarks/straightforward/hat.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from zoo.errors import ChannelError
from zoo.layers import windows
from zoo.layers.attention import Gates, Points
from zoo.layers.channel_attention import ChannelAttention, ChannelAttentionBlock  # noqa: F401 (pickles name both here)
from zoo.layers.heads import default_heads
from zoo.layers.pixelwise import MLP, PixelLinear, pixelwise
from zoo.layers.retired import refuse_retired
from zoo.layers.window_attention import (
    WindowAttention,
    attend,
    check_heads,
    look,
    position_table,
    relative_index,
    split,
)


@dataclass(frozen=True)
class HybridOptions:
    """What all blocks of a body have in common.

    Args:
        window_size: Side of a window of queries in pixels.
        compress_ratio: Channels of the map over those between the two 3x3 convolutions of a hybrid block.
        squeeze_channels: Hidden units of the channel attention, default a thirtieth of the channels but at least 8.
        conv_scale: Weight of the convolutional branch of a hybrid block.
        mlp_ratio: Hidden units of an MLP over the channels.
        overlap_ratio: A window of keys in `OverlappingCrossAttention` is `int(window_size * overlap_ratio)` pixels,
            an even number, wider than that of the queries.

    Raises:
        ChannelError: A window without pixels, or an overlap that is odd or negative.
    """

    window_size: int = 8
    compress_ratio: int = 3
    squeeze_channels: int | None = None
    conv_scale: float = 0.01
    mlp_ratio: float = 2.0
    overlap_ratio: float = 0.5

    def __post_init__(self) -> None:
        if self.window_size < 1:
            raise ChannelError(f"window_size must be at least 1 pixel, found {self.window_size}")
        if self.overlap % 2 or self.overlap < 0:
            raise ChannelError(
                f"int(window_size * overlap_ratio) must be even to overlap both sides alike, found {self.overlap} "
                f"for window_size={self.window_size}, overlap_ratio={self.overlap_ratio}: change either"
            )

    @property
    def overlap(self) -> int:
        """Pixels by which a window of keys is wider than one of queries."""
        return int(self.window_size * self.overlap_ratio)


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


class HybridAttentionBlock(nn.Module):
    """Window attention and channel attention side by side, then an MLP (HAB, section 3.2 of the paper).

        x = x + W-MSA(LN(x)) + conv_scale * CAB(LN(x));    y = x + MLP(LN(x))

    Args:
        dim: Channels of the map.
        heads: Attention heads, a divisor of `dim`.
        options: Sizes and ratios.
        shift_size: Pixels by which windows are shifted, at every size of map (the official code does not shift on
            maps that one window spans in height or width).

    Shape:
        `(B, dim, H, W)` to the same.

    Raises:
        ChannelError: The heads do not divide `dim`, the shift is not inside the window, or the ratio leaves no channel.
    """

    def __init__(self, dim: int, heads: int, options: HybridOptions, shift_size: int = 0) -> None:
        super().__init__()
        if not 0 <= shift_size < options.window_size:
            raise ChannelError(f"shift_size must be in [0, window_size={options.window_size}), found {shift_size}")
        if not 1 <= options.compress_ratio <= dim:
            raise ChannelError(f"compress_ratio must be in [1, dim={dim}], found {options.compress_ratio}")
        self.conv_scale = options.conv_scale
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, options.window_size, shift_size)
        squeezed = max(8, dim // 30) if options.squeeze_channels is None else options.squeeze_channels
        self.conv_block = ChannelAttentionBlock(dim, dim // options.compress_ratio, squeezed)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, options.mlp_ratio)
        self.apply(_init_linear)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1).contiguous()
        normed = self.norm1(x)
        conv = self.conv_block(normed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.attn(normed) + self.conv_scale * conv
        x = x + self.mlp(self.norm2(x))
        return x.permute(0, 3, 1, 2)

    def attention(self, x: Tensor, at: Tensor) -> dict[str, Points | Gates]:
        """See `zoo.layers.attention`."""
        normed = self.norm1(x.permute(0, 2, 3, 1).contiguous())
        name = "shifted window" if self.attn.shift_size else "window"
        return {
            name: self.attn.attention(normed, at),
            "channels": self.conv_block.attention(normed.permute(0, 3, 1, 2)),
        }


class OverlappingCrossAttention(nn.Module):
    """Windows attend to larger windows around them, then an MLP (OCAB, section 3.3 of the paper).

    Keys outside the map get no attention; the official code attends to them as zeros.

    Args:
        dim: Channels of the map.
        heads: Attention heads, a divisor of `dim`.
        options: Sizes and ratios.

    Shape:
        `(B, dim, H, W)` to the same.

    Raises:
        ChannelError: The heads do not divide `dim`.
    """

    index: Tensor

    def __init__(self, dim: int, heads: int, options: HybridOptions) -> None:
        super().__init__()
        check_heads(dim, heads)
        queries, keys = options.window_size, options.window_size + options.overlap
        self.heads, self.window_size, self.margin = heads, queries, options.overlap // 2
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = PixelLinear(dim, 3 * dim)
        self.proj = PixelLinear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, options.mlp_ratio)
        self.relative_position_bias_table = position_table((queries + keys - 1) ** 2, heads)
        self.register_buffer("index", relative_index(queries, keys), persistent=False)
        self.apply(_init_linear)

    def __setstate__(self, state: dict[str, Any]) -> None:
        refuse_retired(state, mask_border=True)
        super().__setstate__(state)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1).contiguous()
        x = x + self.attend(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x.permute(0, 3, 1, 2)

    def attention(self, x: Tensor, at: Tensor) -> dict[str, Points | Gates]:
        """See `zoo.layers.attention`."""
        normed = self.norm1(x.permute(0, 2, 3, 1).contiguous())
        return {"overlapping window": look(self._windows(normed), at, normed.shape, self.window_size, self.margin)}

    def attend(self, x: Tensor) -> Tensor:
        """Overlapping attention alone, `(B, H, W, C)` to the same."""
        return windows.join(self.proj(attend(*self._windows(x))), x.shape, self.window_size, 0)

    def _windows(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Queries, keys, values, bias and mask, as `attend` takes them."""
        _, height, width, dim = x.shape
        window, margin = self.window_size, self.margin
        weights, biases = (parameter.split((dim, 2 * dim)) for parameter in (self.qkv.weight, self.qkv.bias))
        q = windows.cut(x, windows.pixels(height, width, window, 0, 0, x.device), window**2)
        (q,) = split(pixelwise(q, weights[0], biases[0]), 1, self.heads)
        # Keys and values are wanted several times over: projecting before cutting projects each pixel once.
        kv = pixelwise(x, weights[1], biases[1])
        kv = windows.cut(kv, windows.pixels(height, width, window, margin, 0, x.device), (window + 2 * margin) ** 2)
        k, v = split(kv, 2, self.heads)
        bias = self.relative_position_bias_table[self.index].permute(2, 0, 1).contiguous()
        return q, k, v, bias, windows.outside(height, width, window, margin, x.device, q.dtype)


class ResidualHybridGroup(nn.Module):
    """Hybrid blocks, windows alternately in place and shifted by half, one overlapping block, a convolution (RHAG).

        y = x + conv3x3(OCAB(HAB(... HAB(x))))

    Args:
        dim: Channels of the map.
        depth: Number of hybrid blocks.
        heads: Attention heads, a divisor of `dim`.
        options: Sizes and ratios.

    Shape:
        `(B, dim, H, W)` to the same.

    Raises:
        ChannelError: As the blocks inside.
    """

    def __init__(self, dim: int, depth: int, heads: int, options: HybridOptions) -> None:
        super().__init__()
        shifts = [i % 2 * (options.window_size // 2) for i in range(depth)]
        self.blocks = nn.Sequential(*(HybridAttentionBlock(dim, heads, options, shift) for shift in shifts))
        self.overlap_attn = OverlappingCrossAttention(dim, heads, options)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.overlap_attn(self.blocks(x)))

    def attention(self, x: Tensor, at: Tensor) -> dict[str, Points | Gates]:
        """See `zoo.layers.attention`."""
        parts: dict[str, Points | Gates] = {}
        for number, block in enumerate(self.blocks, 1):
            assert isinstance(block, HybridAttentionBlock)
            parts |= {f"block {number}, {name}": part for name, part in block.attention(x, at).items()}
            x = block(x)
        return parts | self.overlap_attn.attention(x, at)


class HybridAttentionBody(nn.Module):
    """HAT without its upsampler: a convolution, residual hybrid groups, a convolution, a skip over the groups.

        s = conv_first(x);    y = s + conv_after_body(LN(groups(LN(s))))

    Args:
        in_channels: Channels of the input.
        dim: Embedding width, the channels of the output.
        depths: Hybrid blocks in each group.
        heads: Attention heads in each group.
        options: Sizes and ratios.
        fold: Side of the squares of pixels that become one position; divides H and W.

    Shape:
        `(B, in_channels, H, W)` to `(B, dim, H / fold, W / fold)`.

    Raises:
        ChannelError: `depths` and `heads` differ in length, or as the groups inside.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        depths: Sequence[int],
        heads: Sequence[int],
        options: HybridOptions,
        fold: int = 1,
    ) -> None:
        super().__init__()
        if len(depths) != len(heads):
            raise ChannelError(f"one head count a group is needed, found depths={depths} and heads={heads}")
        self.conv_first = nn.Conv2d(in_channels, dim, 3 * fold, fold, padding=fold)
        self.norm_first = nn.LayerNorm(dim)
        self.layers = nn.Sequential(
            *(ResidualHybridGroup(dim, d, h, options) for d, h in zip(depths, heads, strict=True))
        )
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = nn.Conv2d(dim, dim, 3, padding=1)

    def __setstate__(self, state: dict[str, Any]) -> None:
        refuse_retired(state, padding="mask")
        super().__setstate__(state)

    def forward(self, x: Tensor) -> Tensor:
        shallow, deep = self._embed(x)
        deep = self.norm(self.layers(deep).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return shallow + self.conv_after_body(deep)

    def _embed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the skip carries, and what the groups are given."""
        shallow = self.conv_first(x)
        return shallow, self.norm_first(shallow.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def attention(self, x: Tensor, at: Tensor) -> dict[str, Points | Gates]:
        """See `zoo.layers.attention`; `at` counts positions after folding."""
        _, x = self._embed(x)
        parts: dict[str, Points | Gates] = {}
        for number, group in enumerate(self.layers, 1):
            assert isinstance(group, ResidualHybridGroup)
            of = f"group {number}, " if len(self.layers) > 1 else ""
            parts |= {of + name: part for name, part in group.attention(x, at).items()}
            x = group(x)
        return parts


class HybridAttention(nn.Module):
    """The body of HAT at `embed_dim` channels on a map of `dim`, with a 1x1 convolution back.

    With `fold`, squares of pixels are first folded into channels (arXiv 1609.05158 read backwards) and at last
    unfolded: windows see `fold` times more of the map, and there are `fold**2` times fewer positions. Folding and the
    3x3 convolution that follows are one convolution, of `3 * fold` pixels at a stride of `fold`. Sides that `fold` does
    not divide are padded with zeros.

    Args:
        dim: Channels of the map.
        embed_dim: Width of the body, default about four times the root of `dim`, a multiple of 16.
        depths: Hybrid blocks in each residual group.
        heads: Attention heads in each group, divisors of `embed_dim`, default so many that each has 16 channels.
        fold: Pixels folded along each side.
        window_size: See `HybridOptions`.
        compress_ratio: See `HybridOptions`.
        squeeze_channels: See `HybridOptions`.
        conv_scale: See `HybridOptions`.
        mlp_ratio: See `HybridOptions`.
        overlap_ratio: See `HybridOptions`.

    Shape:
        `(B, dim, H, W)` to the same; the output has the input's dtype.

    Raises:
        ChannelError: Heads that do not divide `embed_dim`, an odd overlap, lists of different lengths, or `fold < 1`.
    """

    fold = 1  # of a block pickled before there was this option

    def __init__(
        self,
        dim: int,
        *,
        embed_dim: int | None = None,
        depths: Sequence[int] = (2,),
        heads: Sequence[int] | None = None,
        fold: int = 1,
        window_size: int = 8,
        compress_ratio: int = 3,
        squeeze_channels: int | None = None,
        conv_scale: float = 0.01,
        mlp_ratio: float = 2.0,
        overlap_ratio: float = 0.5,
    ) -> None:
        super().__init__()
        if fold < 1:
            raise ChannelError(f"fold must be at least 1 pixel, found {fold}")
        self.fold = fold
        width = 16 * max(1, round(dim**0.5 / 4)) if embed_dim is None else embed_dim
        heads = (default_heads(width, 16),) * len(depths) if heads is None else heads
        options = HybridOptions(window_size, compress_ratio, squeeze_channels, conv_scale, mlp_ratio, overlap_ratio)
        self.body = HybridAttentionBody(dim, width, depths, heads, options, fold)
        self.proj = nn.Conv2d(width, dim * fold**2, 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.fold == 1:
            return self.proj(self.body(x)).to(x.dtype)
        height, width = x.shape[2:]
        padded = self._whole(x)
        y = self.proj(self.body(padded)).to(x.dtype)
        y = rearrange(y, "b (i j c) h w -> b (h i) (w j) c", i=self.fold, j=self.fold).permute(0, 3, 1, 2)
        return y if padded is x else y[..., :height, :width]

    def _whole(self, x: Tensor) -> Tensor:
        """The map, padded unless it is known that `fold` divides its sides."""
        height, width = x.shape[2:]
        if isinstance(height, int) and height % self.fold == width % self.fold == 0:
            return x
        return F.pad(x, (0, -width % self.fold, 0, -height % self.fold))

    def attention(self, x: Tensor, at: Tensor) -> dict[str, Points | Gates]:
        """See `zoo.layers.attention`; with `fold`, what is seen are the middles of folded squares."""
        return unfolded(self.body.attention(self._whole(x), at // self.fold), self.fold)


def unfolded(parts: dict[str, Points | Gates], fold: int) -> dict[str, Points | Gates]:
    """What a body told of squares of `fold` pixels, with positions in pixels: the middles of the squares."""
    return {
        name: replace(part, positions=part.positions * fold + (fold - 1) / 2) if isinstance(part, Points) else part
        for name, part in parts.items()
    }
