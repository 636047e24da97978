"""Halo attention: blocks of queries that see their block and a margin around it.

Source: Vaswani et al., "Scaling Local Self-Attention for Parameter Efficient Visual Backbones" (HaloNet,
arXiv 2103.12731).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import ChannelError
from zoo.layers.pixelwise import PixelLinear, pixelwise
from zoo.layers.shape_cache import shape_cache


def _axis(size: int, block: int, margin: int, device: torch.device) -> Tensor:
    """Pixel numbers under each block's window along an axis, `(blocks, block + 2 * margin)`, some outside the map."""
    starts = torch.arange(0, size, block, device=device) - margin
    return starts[:, None] + torch.arange(block + 2 * margin, device=device)


@shape_cache
def _outside(size: int, block: int, margin: int, device: torch.device) -> Tensor:
    """Which keys of each block lie outside an axis of `size` pixels: bool, `(blocks, block + 2 * margin)`."""
    pixels = _axis(size, block, margin, device)
    return (pixels < 0) | (pixels >= size)


@shape_cache
def _windows(batch: int, height: int, width: int, heads: int, block: int, margin: int, device: torch.device) -> Tensor:
    """Row numbers that cut `(batch * height * width * heads, C)` into windows, one window after the other.

    There is a window per image, block and head, of `(block + 2 * margin)` squared pixels; pixels outside the map are
    replaced by the nearest inside.
    """
    y = _axis(height, block, margin, device).clamp(min=0).clamp(max=height - 1)
    x = _axis(width, block, margin, device).clamp(min=0).clamp(max=width - 1)
    image = torch.arange(batch, device=device)[:, None, None, None, None, None] * height
    pixel = (image + y[:, None, None, :, None]) * width + x[:, None, None, :]
    return (pixel * heads + torch.arange(heads, device=device)[:, None, None]).flatten()


@shape_cache
def _homes(batch: int, height: int, width: int, heads: int, block: int, device: torch.device) -> Tensor:
    """Row numbers that put windows without margin back: the inverse of `_windows`, less the pixels outside."""
    y, x = torch.arange(height, device=device)[:, None, None], torch.arange(width, device=device)[:, None]
    rows, columns = (height + block - 1) // block, (width + block - 1) // block
    image = torch.arange(batch, device=device)[:, None, None, None] * rows
    window = ((image + y // block) * columns + x // block) * heads + torch.arange(heads, device=device)
    return ((window * block + y % block) * block + x % block).flatten()


class HaloAttention(nn.Module):
    """Local attention over non-overlapping blocks of queries (arXiv 2103.12731, section 2.2).

    The map is cut into blocks of `block_size` x `block_size` queries; a block's keys are its own pixels and a margin
    of `halo_size` around them. Logits carry relative position terms for height and width. Keys outside the map get
    no attention, whether they come from the margin or from padding the map to whole blocks.

    Circulating code either inverts that mask or has none. `masked=False` is timm's `HaloAttn`: keys outside the map
    are zero vectors that take part in the softmax.

    Args:
        dim: Channels in.
        heads: Attention heads.
        dim_head: Channels of a head's queries and keys.
        block_size: Side of a block of queries, in pixels.
        halo_size: Margin of keys around a block, in pixels.
        out_dim: Channels out, `dim` if None.
        masked: False lets keys outside the map take part as zero vectors.
        project_out: False leaves out the last projection; heads then yield `out_dim / heads` channels each.
        qkv_bias: Give queries, keys and values a bias.
        scale_position: False leaves the position terms unscaled, as timm's `scale_pos_embed=False` does.

    Shape:
        `(B, dim, H, W)` to `(B, out_dim, H, W)`, any H and W, in the dtype of the input. Logits and softmax are
        computed in float32 (float64 for a float64 input).

    Raises:
        ChannelError: `out_dim` is not a multiple of `heads` and there is no last projection, or a size is not
            positive.
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int,
        dim_head: int,
        block_size: int,
        halo_size: int,
        out_dim: int | None = None,
        masked: bool = True,
        project_out: bool = True,
        qkv_bias: bool = False,
        scale_position: bool = True,
    ) -> None:
        super().__init__()
        out_dim = dim if out_dim is None else out_dim
        if min(dim, heads, dim_head, block_size, out_dim) < 1 or halo_size < 0:
            raise ChannelError(
                f"halo attention needs positive sizes, got dim={dim}, heads={heads}, dim_head={dim_head}, "
                f"block_size={block_size}, halo_size={halo_size}, out_dim={out_dim}"
            )
        if not project_out and out_dim % heads:
            raise ChannelError(
                f"halo attention without a last projection needs out_dim to be a multiple of heads, got "
                f"out_dim={out_dim}, heads={heads}; choose heads among the divisors of {out_dim}"
            )
        self.heads = heads
        self.dim_head = dim_head
        self.dim_value = dim_head if project_out else out_dim // heads
        self.block_size = block_size
        self.halo_size = halo_size
        self.masked = masked
        self.scale_position = scale_position

        # Rows: queries of all heads, then keys and values head by head.
        self.qkv = nn.Linear(dim, heads * (2 * dim_head + self.dim_value), bias=qkv_bias)
        self.to_out = PixelLinear(heads * self.dim_value, out_dim) if project_out else nn.Identity()
        # Row t is the offset t - (block_size + halo_size - 1) of a key from its query.
        reach = 2 * (block_size + halo_size) - 1
        self.rel_height = nn.Parameter(torch.empty(reach, dim_head))
        self.rel_width = nn.Parameter(torch.empty(reach, dim_head))
        nn.init.trunc_normal_(self.qkv.weight, std=dim**-0.5)
        nn.init.trunc_normal_(self.rel_height, std=dim_head**-0.5)
        nn.init.trunc_normal_(self.rel_width, std=dim_head**-0.5)

    def extra_repr(self) -> str:
        """Show the settings that the submodules do not."""
        return (
            f"heads={self.heads}, dim_head={self.dim_head}, block_size={self.block_size}, "
            f"halo_size={self.halo_size}, masked={self.masked}"
        )

    def forward(self, x: Tensor) -> Tensor:
        """Attend: `(B, dim, H, W)` to `(B, out_dim, H, W)`."""
        batch, _, height, width = x.shape
        block, halo, heads = self.block_size, self.halo_size, self.heads
        pixels = x.permute(0, 2, 3, 1).contiguous()
        rows = (heads * self.dim_head, heads * (self.dim_head + self.dim_value))
        weights = self.qkv.weight.split(rows)
        biases = (None, None) if self.qkv.bias is None else self.qkv.bias.split(rows)
        # Projecting before cutting windows projects each pixel once, and two contiguous maps can be cut row by row.
        q, kv = (pixelwise(pixels, weight, bias) for weight, bias in zip(weights, biases, strict=True))
        q = q.reshape(-1, self.dim_head).index_select(0, _windows(batch, height, width, heads, block, 0, x.device))
        kv = kv.reshape(-1, self.dim_head + self.dim_value)
        kv = kv.index_select(0, _windows(batch, height, width, heads, block, halo, x.device))
        outside_y, outside_x = (_outside(size, block, halo, x.device) for size in (height, width))
        with torch.autocast(x.device.type, enabled=False):
            out = self._attend(q, kv, outside_y, outside_x).to(q.dtype)
        out = out.index_select(0, _homes(batch, height, width, heads, block, x.device))
        out = self.to_out(out.reshape(batch, height, width, -1))
        return out.permute(0, 3, 1, 2).to(x.dtype)

    def _attend(self, q: Tensor, kv: Tensor, outside_y: Tensor, outside_x: Tensor) -> Tensor:
        """Softmax attention of each block to its window.

        Args:
            q: `(B * rows * columns * heads * block * block, dim_head)`.
            kv: `(B * rows * columns * heads * window * window, dim_head + dim_value)`.
            outside_y: Which rows of each window lie outside the map, `(rows, window)`.
            outside_x: Which columns of each window lie outside the map, `(columns, window)`.

        Returns:
            `(B * rows * columns * heads * block * block, dim_value)`, in float32 or float64.
        """
        block, window = self.block_size, self.block_size + 2 * self.halo_size
        blocks = (-1, outside_y.shape[0], outside_x.shape[0], self.heads)
        dtype = torch.promote_types(q.dtype, torch.float32)
        kv = kv.to(dtype)
        if not self.masked:
            kv = kv.view(*blocks, window, window, kv.shape[-1])
            kv = kv.masked_fill(outside_y[:, None, None, :, None, None] | outside_x[:, None, None, :, None], 0)
        k, v = kv.view(-1, window * window, kv.shape[-1]).split((self.dim_head, self.dim_value), -1)
        scaled = q.to(dtype) * self.dim_head**-0.5

        offsets = torch.cat((self.rel_height, self.rel_width)).to(dtype)
        terms = F.linear(scaled if self.scale_position else q.to(dtype), offsets)
        by_y, by_x = terms.view(*blocks, block, block, offsets.shape[0]).chunk(2, -1)
        starts = range(block - 1, -1, -1)
        by_y = torch.stack([by_y[..., i, :, start : start + window] for i, start in enumerate(starts)], 4)
        by_x = torch.stack([by_x[..., i, start : start + window] for i, start in enumerate(starts)], 5)
        if self.masked:
            by_y = by_y.masked_fill(outside_y[:, None, None, None, None], -torch.inf)
            by_x = by_x.masked_fill(outside_x[:, None, None, None], -torch.inf)
        bias = by_y[..., None] + by_x[..., None, :]
        logits = torch.baddbmm(
            bias.view(-1, block * block, window * window),
            scaled.view(-1, block * block, self.dim_head),
            k.transpose(1, 2),
        )
        return torch.bmm(logits.softmax(-1), v).view(-1, self.dim_value)
