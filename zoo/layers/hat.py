"""Hybrid attention of HAT: windows, channels, and windows that overlap (Chen et al. 2022, arXiv 2205.04437).

Every block maps `(B, dim, H, W)` to `(B, dim, H, W)` at any H and W. Maps that windows do not tile are padded at the
bottom and right, inside the attention only: convolutions, pooling and normalisation never see the padding, and it
gets exactly zero attention mass. Inside, maps are carried channels-last, `(B, H, W, C)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import ChannelError
from zoo.layers.shape_cache import shape_cache


def _missing(size: int, window: int) -> int:
    """Pixels that an axis lacks to a whole number of windows, in operations that hold for sizes known at run time."""
    return (size + window - 1) // window * window - size


@shape_cache
def _shifted_windows_blocked(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Pairs of pixels of one shifted window that are no neighbours, `(windows, window**2, window**2)`.

    A rolled and padded map holds up to three regions along each axis: pixels in place, pixels wrapped around from the
    other side, and padding. Only pixels of the same region see one another, so padding sees padding.
    """

    def regions(size: int) -> Tensor:
        padded = size + _missing(size, window)
        origin = (torch.arange(padded, device=device) + shift) % padded
        return ((origin < shift).int() + 2 * (origin >= size).int()).view(-1, window)

    rows, columns = regions(height), regions(width)
    label = (3 * rows[:, None, :, None] + columns[None, :, None, :]).reshape(-1, window**2)
    return label[:, None, :] != label[:, :, None]


@shape_cache
def _overlapping_keys(size: int, window: int, margin: int, device: torch.device) -> Tensor:
    """Where along an axis the keys of each window lie, `(windows * (window + 2 * margin),)`; some outside the map."""
    starts = torch.arange(0, size + _missing(size, window), window, device=device)
    return (starts[:, None] + torch.arange(-margin, window + margin, device=device)).flatten()


@shape_cache
def _outside(height: int, width: int, window: int, margin: int, device: torch.device) -> Tensor:
    """Which keys of the overlapping windows lie outside the map, `(rows of keys, columns of keys, 1)`."""
    rows = _overlapping_keys(height, window, margin, device)[:, None, None]
    columns = _overlapping_keys(width, window, margin, device)[:, None]
    return (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)


def _relative_index(queries: int, keys: int) -> Tensor:
    """Row of the position table for each pair of pixels, `(queries**2, keys**2)`.

    The table holds one row per offset `key - query` between two aligned squares in row-major order; the smallest
    offset along an axis is that of the last query to the first key.
    """
    offset = torch.arange(keys) - torch.arange(queries)[:, None] + queries - 1
    index = offset[:, None, :, None] * (queries + keys - 1) + offset[None, :, None, :]
    return index.reshape(queries**2, keys**2)


def _position_table(rows: int, heads: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(rows, heads), std=0.02))


def _init_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


def _check_heads(dim: int, heads: int) -> None:
    if heads < 1 or dim % heads:
        raise ChannelError(f"{dim} channels cannot be split into {heads} heads: choose a divisor of {dim}")


class MLP(nn.Module):
    """Two linear layers with an exact GELU between, on channels-last maps."""

    def __init__(self, dim: int, ratio: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, int(dim * ratio))
        self.fc2 = nn.Linear(int(dim * ratio), dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class ChannelAttention(nn.Module):
    """Gate each channel by a sigmoid of the pooled map (squeeze and excitation), `(B, C, H, W)` to the same."""

    def __init__(self, dim: int, squeezed: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(dim, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, dim, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)


class ChannelAttentionBlock(nn.Module):
    """The convolutional branch of a hybrid block (CAB): a 3x3 bottleneck, then channel attention."""

    def __init__(self, dim: int, compressed: int, squeezed: int) -> None:
        super().__init__()
        self.cab = nn.Sequential(
            nn.Conv2d(dim, compressed, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(compressed, dim, 3, padding=1),
            ChannelAttention(dim, squeezed),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.cab(x)


def _to_windows(x: Tensor, window: int, parts: int, heads: int) -> tuple[Tensor, ...]:
    """Cut `(B, n * window, m * window, parts * C)` into `parts` tensors `(B, n * m, heads, window**2, C / heads)`."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // window, window, width // window, window, parts, heads, channels // (parts * heads))
    return x.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(2, 3).flatten(4, 5).unbind(0)


def _from_windows(x: Tensor, height: int, width: int) -> Tensor:
    """Undo `_to_windows` for one part: `(B, n * m, heads, window**2, d)` to `(B, height, width, heads * d)`."""
    batch, _, heads, area, dim = x.shape
    window = isqrt(area)
    x = x.view(batch, height // window, width // window, heads, window, window, dim)
    return x.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, height, width, heads * dim)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """Attention over `(B, windows, heads, N, d)` with a bias `(heads, N, M)`, or one a window if it has four axes."""
    shape = q.shape
    if bias.dim() == 3:
        q, k, v = (t.flatten(0, 1) for t in (q, k, v))
    else:
        q, k, v = (t.flatten(1, 2) for t in (q, k, v))
        bias = bias.flatten(0, 1)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype).unsqueeze(0)).view(shape)


class WindowAttention(nn.Module):
    """Multi-head attention inside windows, optionally shifted (W-MSA, SW-MSA), `(B, H, W, C)` to the same."""

    index: Tensor

    def __init__(self, dim: int, heads: int, window_size: int, shift_size: int) -> None:
        super().__init__()
        _check_heads(dim, heads)
        self.heads, self.window_size, self.shift_size = heads, window_size, shift_size
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = _position_table((2 * window_size - 1) ** 2, heads)
        # Transposed: the official table of this block counts offsets from the key to the query.
        self.register_buffer("index", _relative_index(window_size, window_size).T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        _, height, width, _ = x.shape
        window, shift = self.window_size, self.shift_size
        bottom, right = _missing(height, window), _missing(width, window)
        qkv = F.pad(self.qkv(x), (0, 0, 0, right, 0, bottom))
        if shift:
            qkv = qkv.roll((-shift, -shift), (1, 2))
        bias = self.relative_position_bias_table[self.index].permute(2, 0, 1)
        if shift or not isinstance(height, int) or bottom or right:
            blocked = _shifted_windows_blocked(height, width, window, shift, x.device)
            bias = bias.masked_fill(blocked[:, None], float("-inf"))
        q, k, v = _to_windows(qkv, window, 3, self.heads)
        y = _from_windows(_attend(q, k, v, bias), height + bottom, width + right)
        if shift:
            y = y.roll((shift, shift), (1, 2))
        return self.proj(y[:, :height, :width])


class HybridAttentionBlock(nn.Module):
    """Window attention and channel attention side by side, then an MLP (HAB, section 3.2 of the paper).

        x = x + W-MSA(LN(x)) + conv_scale * CAB(LN(x));    y = x + MLP(LN(x))

    Args:
        dim: Channels of the map.
        heads: Attention heads, a divisor of `dim`.
        window_size: Side of a window in pixels.
        shift_size: Pixels by which windows are shifted, at every size of map (the official code does not shift on
            maps that one window spans in height or width).
        compress_ratio: `dim` over the channels between the two 3x3 convolutions.
        squeeze_channels: Hidden units of the channel attention, default `dim // 30` but at least 8.
        conv_scale: Weight of the convolutional branch.
        mlp_ratio: Hidden units of the MLP over `dim`.

    Shape:
        `(B, dim, H, W)` to the same.

    Raises:
        ChannelError: The heads do not divide `dim`, or the shift is not inside the window.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        window_size: int,
        *,
        shift_size: int = 0,
        compress_ratio: int = 3,
        squeeze_channels: int | None = None,
        conv_scale: float = 0.01,
        mlp_ratio: float = 2.0,
    ) -> None:
        super().__init__()
        if not 0 <= shift_size < window_size:
            raise ChannelError(f"shift_size must be in [0, window_size={window_size}), found {shift_size}")
        self.conv_scale = conv_scale
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window_size, shift_size)
        squeezed = max(8, dim // 30) if squeeze_channels is None else squeeze_channels
        self.conv_block = ChannelAttentionBlock(dim, dim // compress_ratio, squeezed)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, mlp_ratio)
        self.apply(_init_linear)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        normed = self.norm1(x)
        conv = self.conv_block(normed.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        x = x + self.attn(normed) + self.conv_scale * conv
        x = x + self.mlp(self.norm2(x))
        return x.permute(0, 3, 1, 2)


class OverlappingCrossAttention(nn.Module):
    """Windows attend to larger windows around them, then an MLP (OCAB, section 3.3 of the paper).

    The official position table is a permutation of the one here, `zoo.layers.upstream` converts it.

    Args:
        dim: Channels of the map.
        heads: Attention heads, a divisor of `dim`.
        window_size: Side of a query window in pixels.
        overlap_ratio: A key window is `int(window_size * overlap_ratio)` pixels, an even number, wider.
        mlp_ratio: Hidden units of the MLP over `dim`.
        mask_border: Ignore keys outside the map. False attends to them as zeros, like the official code.

    Shape:
        `(B, dim, H, W)` to the same.

    Raises:
        ChannelError: The heads do not divide `dim`, or the overlap is odd.
    """

    index: Tensor

    def __init__(
        self,
        dim: int,
        heads: int,
        window_size: int,
        *,
        overlap_ratio: float = 0.5,
        mlp_ratio: float = 2.0,
        mask_border: bool = True,
    ) -> None:
        super().__init__()
        _check_heads(dim, heads)
        overlap = int(window_size * overlap_ratio)
        if overlap % 2 or overlap < 0:
            raise ChannelError(
                f"int(window_size * overlap_ratio) must be even to overlap both sides alike, found {overlap} "
                f"for window_size={window_size}, overlap_ratio={overlap_ratio}: change either"
            )
        self.heads, self.window_size, self.margin, self.mask_border = heads, window_size, overlap // 2, mask_border
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, mlp_ratio)
        self.relative_position_bias_table = _position_table((2 * window_size + overlap - 1) ** 2, heads)
        self.register_buffer("index", _relative_index(window_size, window_size + overlap), persistent=False)
        self.apply(_init_linear)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = x + self.attend(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x.permute(0, 3, 1, 2)

    def attend(self, x: Tensor) -> Tensor:
        """Overlapping attention alone, `(B, H, W, C)` to the same."""
        _, height, width, dim = x.shape
        window = self.window_size
        bottom, right = _missing(height, window), _missing(width, window)
        q, kv = self.qkv(x).split((dim, 2 * dim), dim=-1)
        (q,) = _to_windows(F.pad(q, (0, 0, 0, right, 0, bottom)), window, 1, self.heads)

        rows = _overlapping_keys(height, window, self.margin, x.device).clamp(0, height - 1)
        columns = _overlapping_keys(width, window, self.margin, x.device).clamp(0, width - 1)
        kv = kv.index_select(1, rows).index_select(2, columns)
        outside = _outside(height, width, window, self.margin, x.device)
        bias = self.relative_position_bias_table[self.index].permute(2, 0, 1)
        if self.mask_border:
            (blocked,) = _to_windows(outside.unsqueeze(0), window + 2 * self.margin, 1, 1)
            bias = bias.masked_fill(blocked.view(-1, 1, 1, blocked.shape[-2]), float("-inf"))
        else:
            kv = kv.masked_fill(outside, 0)
        k, v = _to_windows(kv, window + 2 * self.margin, 2, self.heads)
        y = _from_windows(_attend(q, k, v, bias), height + bottom, width + right)
        return self.proj(y[:, :height, :width])


class ResidualHybridGroup(nn.Module):
    """Hybrid blocks, windows alternately in place and shifted by half, one overlapping block, a convolution (RHAG).

        y = x + conv3x3(OCAB(HAB(... HAB(x))))

    Args:
        dim: Channels of the map.
        depth: Number of hybrid blocks.
        heads: Attention heads, a divisor of `dim`.
        window_size: Side of a window in pixels.
        compress_ratio: See `HybridAttentionBlock`.
        squeeze_channels: See `HybridAttentionBlock`.
        conv_scale: See `HybridAttentionBlock`.
        mlp_ratio: See `HybridAttentionBlock`.
        overlap_ratio: See `OverlappingCrossAttention`.
        mask_border: See `OverlappingCrossAttention`.

    Shape:
        `(B, dim, H, W)` to the same.

    Raises:
        ChannelError: As the blocks inside.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        window_size: int,
        *,
        compress_ratio: int = 3,
        squeeze_channels: int | None = None,
        conv_scale: float = 0.01,
        mlp_ratio: float = 2.0,
        overlap_ratio: float = 0.5,
        mask_border: bool = True,
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                HybridAttentionBlock(
                    dim,
                    heads,
                    window_size,
                    shift_size=i % 2 * (window_size // 2),
                    compress_ratio=compress_ratio,
                    squeeze_channels=squeeze_channels,
                    conv_scale=conv_scale,
                    mlp_ratio=mlp_ratio,
                )
                for i in range(depth)
            )
        )
        self.overlap_attn = OverlappingCrossAttention(
            dim, heads, window_size, overlap_ratio=overlap_ratio, mlp_ratio=mlp_ratio, mask_border=mask_border
        )
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.overlap_attn(self.blocks(x)))


class HybridAttentionBody(nn.Module):
    """HAT without its upsampler: a convolution, residual hybrid groups, a convolution, a skip over the groups.

        s = conv_first(x);    y = s + conv_after_body(LN(groups(LN(s))))

    Args:
        in_channels: Channels of the input.
        dim: Embedding width, the channels of the output.
        depths: Hybrid blocks in each group.
        heads: Attention heads in each group.
        window_size: Side of a window in pixels.
        padding: What windows see where they reach over the map: nothing (`"mask"`), or, as in the official code, the
            input mirrored (`"reflect"`, around the whole body, convolutions and pooling included).
        **options: Passed to each `ResidualHybridGroup`.

    Shape:
        `(B, in_channels, H, W)` to `(B, dim, H, W)`.

    Raises:
        ChannelError: `depths` and `heads` differ in length, or as the groups inside.
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        depths: Sequence[int],
        heads: Sequence[int],
        window_size: int,
        *,
        padding: Literal["mask", "reflect"] = "mask",
        **options: Any,
    ) -> None:
        super().__init__()
        if len(depths) != len(heads):
            raise ChannelError(f"one head count a group is needed, found depths={depths} and heads={heads}")
        if padding not in ("mask", "reflect"):
            raise ChannelError(f"padding must be 'mask' or 'reflect', found {padding!r}")
        self.window_size, self.padding = window_size, padding
        self.conv_first = nn.Conv2d(in_channels, dim, 3, padding=1)
        self.norm_first = nn.LayerNorm(dim)
        self.layers = nn.Sequential(
            *(ResidualHybridGroup(dim, d, h, window_size, **options) for d, h in zip(depths, heads, strict=True))
        )
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if self.padding == "reflect":
            x = _reflect(_reflect(x, 2, self.window_size), 3, self.window_size)
        shallow = self.conv_first(x)
        deep = self.norm_first(shallow.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        deep = self.norm(self.layers(deep).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return (shallow + self.conv_after_body(deep))[:, :, :height, :width]


def _reflect(x: Tensor, axis: int, window: int) -> Tensor:
    """Mirror the far end of an axis up to a multiple of the window, to and fro where the axis is shorter than that."""
    size = x.shape[axis]
    period = max(2 * size - 2, 1)
    position = torch.arange(size + _missing(size, window), device=x.device) % period
    return x.index_select(axis, torch.minimum(position, period - position))


class HybridAttention(nn.Module):
    """The body of HAT at `embed_dim` channels on a map of `dim`, with a 1x1 convolution back.

    Args:
        dim: Channels of the map.
        embed_dim: Width of the body.
        depths: Hybrid blocks in each residual group.
        heads: Attention heads in each group, divisors of `embed_dim`.
        window_size: Side of a window in pixels.
        compress_ratio: See `HybridAttentionBlock`.
        squeeze_channels: See `HybridAttentionBlock`.
        conv_scale: See `HybridAttentionBlock`.
        overlap_ratio: See `OverlappingCrossAttention`.
        mlp_ratio: See `HybridAttentionBlock`.
        padding: See `HybridAttentionBody`.
        mask_border: See `OverlappingCrossAttention`.

    Shape:
        `(B, dim, H, W)` to the same; the output has the input's dtype.

    Raises:
        ChannelError: Heads that do not divide `embed_dim`, an odd overlap, or lists of different lengths.
    """

    def __init__(
        self,
        dim: int,
        *,
        embed_dim: int,
        depths: Sequence[int] = (2,),
        heads: Sequence[int] = (4,),
        window_size: int = 8,
        compress_ratio: int = 3,
        squeeze_channels: int | None = None,
        conv_scale: float = 0.01,
        overlap_ratio: float = 0.5,
        mlp_ratio: float = 2.0,
        padding: Literal["mask", "reflect"] = "mask",
        mask_border: bool = True,
    ) -> None:
        super().__init__()
        self.body = HybridAttentionBody(
            dim,
            embed_dim,
            depths,
            heads,
            window_size,
            padding=padding,
            compress_ratio=compress_ratio,
            squeeze_channels=squeeze_channels,
            conv_scale=conv_scale,
            overlap_ratio=overlap_ratio,
            mlp_ratio=mlp_ratio,
            mask_border=mask_border,
        )
        self.proj = nn.Conv2d(embed_dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.body(x)).to(x.dtype)
