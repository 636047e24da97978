"""Halo attention: blocks of queries that see their block and a margin around it.

Source: Vaswani et al., "Scaling Local Self-Attention for Parameter Efficient Visual Backbones" (HaloNet,
arXiv 2103.12731). The straightforward twin is `benchmarks/straightforward/halo.py`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import ChannelError
from zoo.layers import windows
from zoo.layers.attention import Points
from zoo.layers.pixelwise import PixelLinear, pixelwise
from zoo.layers.retired import refuse_retired
from zoo.layers.shape_cache import shape_cache


@shape_cache
def _cut_rows(batch: int, height: int, width: int, heads: int, block: int, margin: int, device: torch.device) -> Tensor:
    """Row numbers that cut `(batch * height * width * heads, C)` into windows, one an image, block and head."""
    image = torch.arange(batch, device=device)[:, None, None, None] * (height * width)
    pixel = windows.pixels(height, width, block, margin, 0, device).view(-1, 1, (block + 2 * margin) ** 2)
    return ((image + pixel) * heads + torch.arange(heads, device=device)[:, None]).flatten()


@shape_cache
def _join_rows(batch: int, height: int, width: int, heads: int, block: int, device: torch.device) -> Tensor:
    """Row numbers that put windows without margin back: the inverse of `_cut_rows`, less the pixels outside."""
    area = block**2
    count = ((height + block - 1) // block) * ((width + block - 1) // block)
    image = torch.arange(batch, device=device)[:, None, None] * count
    position = windows.positions(height, width, block, 0, device)[:, None]
    window = (image + position // area) * heads + torch.arange(heads, device=device)
    return (window * area + position % area).flatten()


class HaloAttention(nn.Module):
    """Local attention over non-overlapping blocks of queries (arXiv 2103.12731, section 2.2).

    The map is cut into blocks of `block_size` x `block_size` queries; a block's keys are its own pixels and a margin
    of `halo_size` around them. Logits carry relative position terms for height and width. Keys outside the map get
    no attention, whether they come from the margin or from padding the map to whole blocks. (Circulating code either
    inverts that mask or has none.)

    Args:
        dim: Channels in and out.
        heads: Attention heads, default one for every 64 channels.
        dim_head: Channels of a head, default 32 or `dim` if that is fewer.
        block_size: Side of a block of queries, in pixels.
        halo_size: Margin of keys around a block, in pixels.

    Shape:
        `(B, dim, H, W)` to `(B, dim, H, W)`, any H and W, in the dtype of the input. Logits and softmax are
        computed in float32 (float64 for a float64 input).

    Raises:
        ChannelError: A size is not positive.
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int | None = None,
        dim_head: int | None = None,
        block_size: int = 4,
        halo_size: int = 2,
    ) -> None:
        super().__init__()
        heads = max(1, dim // 64) if heads is None else heads
        dim_head = min(32, dim) if dim_head is None else dim_head
        if min(dim, heads, dim_head, block_size) < 1 or halo_size < 0:
            raise ChannelError(
                f"halo attention needs positive sizes, got dim={dim}, heads={heads}, dim_head={dim_head}, "
                f"block_size={block_size}, halo_size={halo_size}"
            )
        self.heads = heads
        self.dim_head = dim_head
        self.block_size = block_size
        self.halo_size = halo_size

        # Rows: queries of all heads, then keys and values head by head.
        self.qkv = nn.Linear(dim, 3 * heads * dim_head, bias=False)
        self.to_out = PixelLinear(heads * dim_head, dim)
        # Row t is the offset t - (block_size + halo_size - 1) of a key from its query.
        reach = 2 * (block_size + halo_size) - 1
        self.rel_height = nn.Parameter(torch.empty(reach, dim_head))
        self.rel_width = nn.Parameter(torch.empty(reach, dim_head))
        nn.init.trunc_normal_(self.qkv.weight, std=dim**-0.5)
        nn.init.trunc_normal_(self.rel_height, std=dim_head**-0.5)
        nn.init.trunc_normal_(self.rel_width, std=dim_head**-0.5)

    def __setstate__(self, state: dict[str, Any]) -> None:
        refuse_retired(state, masked=True, scale_position=True)
        super().__setstate__(state)

    def extra_repr(self) -> str:
        """Show the settings that the submodules do not."""
        return f"heads={self.heads}, dim_head={self.dim_head}, block_size={self.block_size}, halo_size={self.halo_size}"

    def forward(self, x: Tensor) -> Tensor:
        """Attend: `(B, dim, H, W)` to `(B, dim, H, W)`."""
        batch, _, height, width = x.shape
        q, kv = self._cut(x)
        with torch.autocast(x.device.type, enabled=False):
            logits, v = self._logits(q, kv, *self._outside(x))
            out = torch.bmm(logits.softmax(-1), v).view(-1, v.shape[-1]).to(q.dtype)
        out = out.index_select(0, _join_rows(batch, height, width, self.heads, self.block_size, x.device))
        out = self.to_out(out.reshape(batch, height, width, -1))
        return out.permute(0, 3, 1, 2).to(x.dtype)

    def attention(self, x: Tensor, at: Tensor) -> dict[str, Points]:
        """See `zoo.layers.attention`."""
        block, halo = self.block_size, self.halo_size
        with torch.autocast(x.device.type, enabled=False):
            logits, v = self._logits(*self._cut(x), *self._outside(x))
        number, place, seen = windows.seen_from(at, x.shape[2], x.shape[3], block, halo, 0)
        logits, v = (t.view(x.shape[0], -1, self.heads, *t.shape[1:]) for t in (logits, v))
        given = logits[:, number, :, place].permute(1, 2, 0, 3).softmax(-1)
        values = v[:, number].transpose(1, 2)
        return {"block and halo": Points(given, seen.to(given.dtype).expand(*values.shape[:4], 2), values)}

    def _outside(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Which rows and which columns of each window lie outside the map, `(windows, window)` along either axis."""
        rows, columns = (windows.outside_axis(n, self.block_size, self.halo_size, x.device) for n in x.shape[2:])
        return rows, columns

    def _cut(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Project the map and cut it into windows.

        Projecting before cutting projects each pixel once, and two contiguous maps can be cut row by row.

        Returns:
            Queries `(B * rows * columns * heads * block**2, dim_head)`, and keys and values side by side
            `(B * rows * columns * heads * window**2, 2 * dim_head)`.
        """
        batch, _, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).contiguous()
        for_q = self.heads * self.dim_head
        to_q, to_kv = self.qkv.weight.split((for_q, self.qkv.out_features - for_q))
        q = pixelwise(pixels, to_q).reshape(-1, self.dim_head)
        kv = pixelwise(pixels, to_kv).reshape(-1, to_kv.shape[0] // self.heads)
        at = (batch, height, width, self.heads, self.block_size)
        q = q.index_select(0, _cut_rows(*at, 0, x.device))
        return q, kv.index_select(0, _cut_rows(*at, self.halo_size, x.device))

    def _logits(self, q: Tensor, kv: Tensor, outside_y: Tensor, outside_x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of each block to its window, in float32 or float64, and the values that they weigh.

        Returns:
            `(B * rows * columns * heads, block**2, window**2)` and `(B * rows * columns * heads, window**2, dim_head)`.
        """
        block, window = self.block_size, self.block_size + 2 * self.halo_size
        dtype = torch.promote_types(q.dtype, torch.float32)
        kv = kv.to(dtype).view(-1, window * window, kv.shape[-1])
        k, v = kv.split((self.dim_head, kv.shape[-1] - self.dim_head), -1)
        scaled = q.to(dtype) * self.dim_head**-0.5
        by_y, by_x = self._position(scaled, outside_y.shape[0], outside_x.shape[0])
        by_y = by_y.masked_fill(outside_y[:, None, None, None, None], -torch.inf)
        by_x = by_x.masked_fill(outside_x[:, None, None, None], -torch.inf)
        bias = by_y[..., None] + by_x[..., None, :]
        logits = torch.baddbmm(
            bias.view(-1, block * block, window * window),
            scaled.view(-1, block * block, self.dim_head),
            k.transpose(1, 2),
        )
        return logits, v

    def _position(self, q: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Terms of the logits for the rows and for the columns of each window.

        Returns:
            Both `(B, rows, columns, heads, block, block, window)`.
        """
        block, window = self.block_size, self.block_size + 2 * self.halo_size
        offsets = torch.cat((self.rel_height, self.rel_width)).to(q.dtype)
        terms = F.linear(q, offsets).view(-1, rows, columns, self.heads, block, block, offsets.shape[0])
        by_y, by_x = terms.chunk(2, -1)
        starts = range(block - 1, -1, -1)
        by_y = torch.stack([by_y[..., i, :, start : start + window] for i, start in enumerate(starts)], 4)
        by_x = torch.stack([by_x[..., i, start : start + window] for i, start in enumerate(starts)], 5)
        return by_y, by_x
