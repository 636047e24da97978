"""Halo attention: blocks of queries that see their block and a margin around it.

Source: Vaswani et al., "Scaling Local Self-Attention for Parameter Efficient Visual Backbones" (HaloNet,
arXiv 2103.12731).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import ChannelError
from zoo.layers.shape_cache import shape_cache


@shape_cache
def _outside(blocks: int, block: int, halo: int, size: int, device: torch.device) -> Tensor:
    """Which keys of each block lie outside an axis of `size` pixels: bool, `(blocks, block + 2 * halo)`."""
    origins = torch.arange(blocks, device=device)[:, None] * block - halo
    pixels = origins + torch.arange(block + 2 * halo, device=device)
    return (pixels < 0) | (pixels >= size)


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
        self.to_out = nn.Linear(heads * self.dim_value, out_dim) if project_out else nn.Identity()
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
        height, width = x.shape[2:]
        block, halo, heads = self.block_size, self.halo_size, self.heads
        window = block + 2 * halo
        down, right = -height % block, -width % block

        qkv = self.qkv(x.permute(0, 2, 3, 1))
        q, kv = qkv.split((heads * self.dim_head, heads * (self.dim_head + self.dim_value)), -1)
        q = F.pad(q, (0, 0, 0, right, 0, down)).unflatten(1, (-1, block)).unflatten(3, (-1, block))
        rows, columns = q.shape[1], q.shape[3]
        q = q.unflatten(5, (heads, -1)).permute(0, 1, 3, 5, 2, 4, 6)
        kv = F.pad(kv, (0, 0, halo, halo + right, halo, halo + down))
        kv = kv.unfold(1, window, block).unfold(2, window, block).unflatten(3, (heads, -1))
        kv = kv.permute(0, 1, 2, 3, 5, 6, 4).flatten(4, 5)
        k, v = kv.split((self.dim_head, self.dim_value), -1)

        with torch.autocast(x.device.type, enabled=False):
            out = self._attend(q, k, v, height, width)
        out = out.unflatten(4, (block, block)).permute(0, 1, 4, 2, 5, 3, 6)
        out = out.reshape(-1, rows * block, columns * block, heads * self.dim_value)[:, :height, :width]
        return self.to_out(out.to(qkv.dtype)).permute(0, 3, 1, 2).to(x.dtype)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, height: int, width: int) -> Tensor:
        """Softmax attention of each block to its window.

        Args:
            q: `(B, rows, columns, heads, block, block, dim_head)`.
            k: `(B, rows, columns, heads, window * window, dim_head)`.
            v: `(B, rows, columns, heads, window * window, dim_value)`.
            height: Rows of pixels in the map.
            width: Columns of pixels in the map.

        Returns:
            `(B, rows, columns, heads, block * block, dim_value)`, in float32 or float64.
        """
        dtype = torch.promote_types(q.dtype, torch.float32)
        scaled = q.to(dtype) * self.dim_head**-0.5
        positional = scaled if self.scale_position else q.to(dtype)
        by_row = positional @ self.rel_height.to(dtype).T
        by_column = positional @ self.rel_width.to(dtype).T
        block, window = self.block_size, self.block_size + 2 * self.halo_size
        starts = range(block - 1, -1, -1)
        by_row = torch.stack([by_row[..., y, :, t : t + window] for y, t in enumerate(starts)], 4)
        by_column = torch.stack([by_column[..., x, t : t + window] for x, t in enumerate(starts)], 5)
        if self.masked:
            outside_y = _outside(q.shape[1], block, self.halo_size, height, q.device)
            outside_x = _outside(q.shape[2], block, self.halo_size, width, q.device)
            by_row = by_row.masked_fill(outside_y[:, None, None, None, None], -torch.inf)
            by_column = by_column.masked_fill(outside_x[:, None, None, None], -torch.inf)
        bias = by_row[..., :, None] + by_column[..., None, :]
        logits = scaled.flatten(4, 5) @ k.to(dtype).transpose(-1, -2) + bias.flatten(4, 5).flatten(5)
        return logits.softmax(-1) @ v.to(dtype)
