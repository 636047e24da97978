"""Attention inside windows, with a learned table of relative positions; the part of HAT that is older than HAT.

Source: Liu et al., "Swin Transformer" (arXiv 2103.14030), as used by HAT. Windows are cut by index; heads are split by
torch's own reshape and permute, because einops took half as long again (23 instead of 15 microseconds a call, of which
a body makes at least four).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import ChannelError
from zoo.layers import windows
from zoo.layers.attention import Points
from zoo.layers.pixelwise import PixelLinear


def relative_index(queries: int, keys: int) -> Tensor:
    """Row of the position table for each pair of pixels, `(queries**2, keys**2)`.

    The table holds one row per offset `key - query` between two aligned squares in row-major order; the smallest
    offset along an axis is that of the last query to the first key.
    """
    offset = torch.arange(keys) - torch.arange(queries)[:, None] + queries - 1
    index = offset[:, None, :, None] * (queries + keys - 1) + offset[None, :, None, :]
    return index.reshape(queries**2, keys**2)


def position_table(rows: int, heads: int) -> nn.Parameter:
    """A new table of relative positions, `(rows, heads)`."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(rows, heads), std=0.02))


def check_heads(dim: int, heads: int) -> None:
    """Raise `ChannelError` unless the heads share the channels out."""
    if heads < 1 or dim % heads:
        raise ChannelError(f"{dim} channels cannot be split into {heads} heads: choose a divisor of {dim}")


def split(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """Part `(B, windows, area, parts * C)` into `parts` tensors `(B, windows, heads, area, C / heads)`."""
    batch, _, area, channels = x.shape
    return x.reshape(batch, -1, area, parts, heads, channels // (parts * heads)).permute(3, 0, 1, 4, 2, 5).unbind(0)


def weights(q: Tensor, k: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
    """What each query gives to each key of its window, `(B, windows, heads, N, M)`; see `attend`."""
    logits = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).add_(bias)
    return (logits if mask is None else logits.add_(mask)).softmax(-1)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
    """Attention over `(B, windows, heads, N, d)`, with a bias `(heads, N, M)` and a mask `(windows, 1, 1 or N, M)`.

    Returns:
        The heads side by side, `(B, windows, N, heads * d)`.
    """
    if bias.requires_grad and q.device.type == "cpu":  # the fused kernel of the CPU cannot differentiate the bias
        return (weights(q, k, bias, mask) @ v).transpose(2, 3).flatten(3)
    shape, bias = q.shape, bias.to(q.dtype).unsqueeze(0)
    if mask is not None:
        bias = bias + mask
    # The kernel takes two axes of batch: windows join the images, or the heads if they differ and there are images.
    axis = 0
    if mask is not None and not (isinstance(shape[0], int) and shape[0] == 1):
        bias, axis = bias.flatten(0, 1).unsqueeze(0), 1
    q, k, v = (t.flatten(axis, axis + 1) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).view(shape).transpose(2, 3).flatten(3)


def look(
    heads: tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None],
    at: Tensor,
    shape: torch.Size,
    window: int,
    margin: int = 0,
    shift: int = 0,
) -> Points:
    """What queries at `(N, 2)`, rows and columns of a map of `shape`, `(B, H, W, C)`, see of it.

    Args:
        heads: What `attend` takes.
        at: The queries.
        shape: Of the map.
        window: Side of a window of queries.
        margin: Pixels by which a window of keys is wider at each side.
        shift: Pixels by which windows are shifted.
    """
    q, k, v, bias, mask = heads
    number, place, seen = windows.seen_from(at, shape[1], shape[2], window, margin, shift)
    given = weights(q[:, number], k[:, number], bias, None if mask is None else mask[number])
    given = given[:, torch.arange(len(at), device=at.device), :, place].permute(1, 2, 0, 3)
    values = v[:, number].transpose(1, 2)
    return Points(given, seen.to(given.dtype).expand(*values.shape[:4], 2), values)


class WindowAttention(nn.Module):
    """Multi-head attention inside windows, optionally shifted (W-MSA, SW-MSA), `(B, H, W, C)` to the same."""

    index: Tensor

    def __init__(self, dim: int, heads: int, window_size: int, shift_size: int) -> None:
        super().__init__()
        check_heads(dim, heads)
        self.heads, self.window_size, self.shift_size = heads, window_size, shift_size
        self.qkv = PixelLinear(dim, 3 * dim)
        self.proj = PixelLinear(dim, dim)
        self.relative_position_bias_table = position_table((2 * window_size - 1) ** 2, heads)
        # Transposed: the official table of this block counts offsets from the key to the query.
        self.register_buffer("index", relative_index(window_size, window_size).T.contiguous(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return windows.join(self.proj(attend(*self._windows(x))), x.shape, self.window_size, self.shift_size)

    def attention(self, x: Tensor, at: Tensor) -> Points:
        """What queries at rows and columns `(N, 2)` see."""
        return look(self._windows(x), at, x.shape, self.window_size, shift=self.shift_size)

    def _windows(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Queries, keys, values, bias and mask, as `attend` takes them."""
        _, height, width, _ = x.shape
        window, shift = self.window_size, self.shift_size
        pixels = windows.pixels(height, width, window, 0, shift, x.device)
        q, k, v = split(self.qkv(windows.cut(x, pixels, window**2)), 3, self.heads)
        bias = self.relative_position_bias_table[self.index].permute(2, 0, 1).contiguous()
        mask = None
        if shift or not isinstance(height, int) or height % window or width % window:
            mask = windows.strangers(height, width, window, shift, x.device, q.dtype)
        return q, k, v, bias, mask
