"""Hybrid attention of HAT: windows, channels, and windows that overlap (Chen et al. 2022, arXiv 2205.04437).

Every block maps `(B, dim, H, W)` to `(B, dim, H, W)` at any H and W. Maps that windows do not tile are padded at the
bottom and right, inside the attention only: convolutions, pooling and normalisation never see the padding, and it
gets exactly zero attention mass. Inside, maps are carried channels-last, `(B, H, W, C)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import ChannelError
from zoo.layers.pixelwise import PixelLinear, pixelwise
from zoo.layers.shape_cache import shape_cache


def _coordinates(size: int, window: int, margin: int, shift: int, device: torch.device) -> Tensor:
    """Where along an axis the pixels of each window lie, `(windows, window + 2 * margin)`; some outside the map.

    Shifted windows are numbered from the first that starts inside; the last one wraps around to the first pixels.
    """
    count = (size + window - 1) // window
    starts = torch.arange(count, device=device) * window + shift - margin
    coordinates = starts[:, None] + torch.arange(window + 2 * margin, device=device)
    return coordinates % (count * window) if shift else coordinates


@shape_cache
def _pixels(height: int, width: int, window: int, margin: int, shift: int, device: torch.device) -> Tensor:
    """The pixel `y * W + x` at each position of each window in turn; positions outside the map get one on its edge."""
    rows = _coordinates(height, window, margin, shift, device).clamp(0, height - 1)
    columns = _coordinates(width, window, margin, shift, device).clamp(0, width - 1)
    return (rows[:, None, :, None] * width + columns[None, :, None, :]).flatten()


@shape_cache
def _positions(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    """The inverse of `_pixels` without margin: among all positions of all windows, that of each pixel.

    Shifting stays above zero, because Inductor (PyTorch 2.15, CPU) fails on quotients of remainders of negatives.
    """
    down, across = (height + window - 1) // window, (width + window - 1) // window
    rows = (torch.arange(height, device=device)[:, None] + down * window - shift) % (down * window)
    columns = (torch.arange(width, device=device) + across * window - shift) % (across * window)
    windows = rows // window * across + columns // window
    return (windows * window**2 + rows % window * window + columns % window).flatten()


@shape_cache
def _outside(height: int, width: int, window: int, margin: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Minus infinity at positions outside the map, else zero: `(windows, 1, 1, (window + 2 * margin)**2)`."""
    rows = _coordinates(height, window, margin, 0, device)[:, None, :, None]
    columns = _coordinates(width, window, margin, 0, device)[None, :, None, :]
    outside = ((rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)).flatten(2).flatten(0, 1)
    return _minus_infinity(outside[:, None, None], dtype)


@shape_cache
def _strangers(height: int, width: int, window: int, shift: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Minus infinity at pairs that must not see one another, else zero: `(windows, 1, window**2, window**2)`.

    Along each axis a window holds up to three regions: pixels in place, pixels wrapped around, and padding. Pairs
    from different regions are strangers, so padding sees padding and no softmax is empty.
    """

    def region(size: int) -> Tensor:
        coordinates = _coordinates(size, window, 0, shift, device)
        return (coordinates < shift).int() + 2 * (coordinates >= size).int()

    regions = 3 * region(height)[:, None, :, None] + region(width)[None, :, None, :]
    regions = regions.flatten(2).flatten(0, 1)
    return _minus_infinity((regions[:, None, :] != regions[:, :, None])[:, None], dtype)


def _minus_infinity(where: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(where.shape, dtype=dtype, device=where.device).masked_fill(where, -torch.inf)


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


def _check(dim: int, heads: int, window_size: int) -> None:
    if heads < 1 or dim % heads:
        raise ChannelError(f"{dim} channels cannot be split into {heads} heads: choose a divisor of {dim}")
    if window_size < 1:
        raise ChannelError(f"window_size must be at least 1 pixel, found {window_size}")


class MLP(nn.Module):
    """Two linear layers with an exact GELU between, on channels-last maps."""

    def __init__(self, dim: int, ratio: float) -> None:
        super().__init__()
        self.fc1 = PixelLinear(dim, int(dim * ratio))
        self.fc2 = PixelLinear(int(dim * ratio), dim)

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


def _cut(x: Tensor, pixels: Tensor, area: int) -> Tensor:
    """Gather `(B, H, W, C)` into windows `(B, windows, area, C)`."""
    batch, _, _, channels = x.shape
    return x.flatten(1, 2).index_select(1, pixels).view(batch, -1, area, channels)


def _split(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """Part `(B, windows, area, parts * C)` into `parts` tensors `(B, windows, heads, area, C / heads)`."""
    batch, _, area, channels = x.shape
    return x.reshape(batch, -1, area, parts, heads, channels // (parts * heads)).permute(3, 0, 1, 4, 2, 5).unbind(0)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
    """Attention over `(B, windows, heads, N, d)`, with a bias `(heads, N, M)` and a mask `(windows, 1, 1 or N, M)`.

    Returns:
        The heads side by side, `(B, windows, N, heads * d)`.
    """
    if bias.requires_grad and q.device.type == "cpu":  # the fused kernel of the CPU cannot differentiate the bias
        logits = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).add_(bias)
        return ((logits if mask is None else logits.add_(mask)).softmax(-1) @ v).transpose(2, 3).flatten(3)
    shape, bias = q.shape, bias.to(q.dtype).unsqueeze(0)
    if mask is not None:
        bias = bias + mask
    # The kernel takes two axes of batch: windows join the images, or the heads if they differ and there are images.
    axis = 0
    if mask is not None and not (isinstance(shape[0], int) and shape[0] == 1):
        bias, axis = bias.flatten(0, 1).unsqueeze(0), 1
    q, k, v = (t.flatten(axis, axis + 1) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).view(shape).transpose(2, 3).flatten(3)


class WindowAttention(nn.Module):
    """Multi-head attention inside windows, optionally shifted (W-MSA, SW-MSA), `(B, H, W, C)` to the same."""

    index: Tensor

    def __init__(self, dim: int, heads: int, window_size: int, shift_size: int) -> None:
        super().__init__()
        _check(dim, heads, window_size)
        self.heads, self.window_size, self.shift_size = heads, window_size, shift_size
        self.qkv = PixelLinear(dim, 3 * dim)
        self.proj = PixelLinear(dim, dim)
        self.relative_position_bias_table = _position_table((2 * window_size - 1) ** 2, heads)
        # Transposed: the official table of this block counts offsets from the key to the query.
        self.register_buffer("index", _relative_index(window_size, window_size).T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        _, height, width, _ = x.shape
        window, shift = self.window_size, self.shift_size
        pixels = _pixels(height, width, window, 0, shift, x.device)
        q, k, v = _split(self.qkv(_cut(x, pixels, window**2)), 3, self.heads)
        bias = self.relative_position_bias_table[self.index].permute(2, 0, 1).contiguous()
        mask = None
        if shift or not isinstance(height, int) or height % window or width % window:
            mask = _strangers(height, width, window, shift, x.device, q.dtype)
        y = self.proj(_attend(q, k, v, bias, mask))
        return y.flatten(1, 2).index_select(1, _positions(height, width, window, shift, x.device)).view(x.shape)


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
        ChannelError: The heads do not divide `dim`, the shift is not inside the window, or the ratio leaves no channel.
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
        if not 0 <= shift_size < max(window_size, 1):
            raise ChannelError(f"shift_size must be in [0, window_size={window_size}), found {shift_size}")
        if not 1 <= compress_ratio <= dim:
            raise ChannelError(f"compress_ratio must be in [1, dim={dim}], found {compress_ratio}")
        self.conv_scale = conv_scale
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window_size, shift_size)
        squeezed = max(8, dim // 30) if squeeze_channels is None else squeeze_channels
        self.conv_block = ChannelAttentionBlock(dim, dim // compress_ratio, squeezed)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, mlp_ratio)
        self.apply(_init_linear)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1).contiguous()
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
        _check(dim, heads, window_size)
        overlap = int(window_size * overlap_ratio)
        if overlap % 2 or overlap < 0:
            raise ChannelError(
                f"int(window_size * overlap_ratio) must be even to overlap both sides alike, found {overlap} "
                f"for window_size={window_size}, overlap_ratio={overlap_ratio}: change either"
            )
        self.heads, self.window_size, self.margin, self.mask_border = heads, window_size, overlap // 2, mask_border
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = PixelLinear(dim, 3 * dim)
        self.proj = PixelLinear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, mlp_ratio)
        self.relative_position_bias_table = _position_table((2 * window_size + overlap - 1) ** 2, heads)
        self.register_buffer("index", _relative_index(window_size, window_size + overlap), persistent=False)
        self.apply(_init_linear)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1).contiguous()
        x = x + self.attend(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x.permute(0, 3, 1, 2)

    def attend(self, x: Tensor) -> Tensor:
        """Overlapping attention alone, `(B, H, W, C)` to the same."""
        _, height, width, dim = x.shape
        window, margin = self.window_size, self.margin
        weights, biases = (parameter.split((dim, 2 * dim)) for parameter in (self.qkv.weight, self.qkv.bias))
        q = _cut(x, _pixels(height, width, window, 0, 0, x.device), window**2)
        (q,) = _split(pixelwise(q, weights[0], biases[0]), 1, self.heads)
        # Keys and values are wanted several times over: projecting before cutting projects each pixel once.
        kv = pixelwise(x, weights[1], biases[1])
        kv = _cut(kv, _pixels(height, width, window, margin, 0, x.device), (window + 2 * margin) ** 2)
        k, v = _split(kv, 2, self.heads)
        bias = self.relative_position_bias_table[self.index].permute(2, 0, 1).contiguous()
        mask = _outside(height, width, window, margin, x.device, q.dtype)
        if not self.mask_border:
            k, v = (t.masked_fill(mask.transpose(2, 3) < 0, 0) for t in (k, v))
        y = self.proj(_attend(q, k, v, bias, mask if self.mask_border else None))
        return y.flatten(1, 2).index_select(1, _positions(height, width, window, 0, x.device)).view(x.shape)


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
    position = torch.arange((size + window - 1) // window * window, device=x.device) % period
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
