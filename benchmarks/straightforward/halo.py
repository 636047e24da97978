"""Halo attention as it circulates: windows unfolded before they are projected, dense masks and position tables."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.layers.halo import HaloAttention


class StraightforwardHaloAttention(HaloAttention):
    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width = x.shape
        block, halo, heads = self.block_size, self.halo_size, self.heads
        window = block + 2 * halo
        x = F.pad(x, (0, -width % block, 0, -height % block))
        inside = F.pad(x.new_ones(batch, 1, height, width), (0, -width % block, 0, -height % block))
        rows, columns = x.shape[2] // block, x.shape[3] // block

        def unfold(t: Tensor, side: int, padding: int) -> Tensor:
            return F.unfold(t, side, stride=block, padding=padding).unflatten(1, (-1, side**2)).permute(0, 3, 2, 1)

        to_q, to_kv = self.qkv.weight.split((heads * self.dim_head, 2 * heads * self.dim_head))
        q = F.linear(unfold(x, block, 0), to_q) * self.dim_head**-0.5
        q = q.unflatten(3, (heads, -1)).permute(0, 1, 3, 2, 4)
        kv = F.linear(unfold(x, window, halo), to_kv)
        k, v = kv.unflatten(3, (heads, -1)).permute(0, 1, 3, 2, 4).chunk(2, -1)

        offsets = torch.arange(window)[None] - torch.arange(block)[:, None] + block - 1
        by_pixel = q.unflatten(3, (block, block))
        by_y = torch.einsum("bnhyxd,yid->bnhyxi", by_pixel, self.rel_height[offsets])
        by_x = torch.einsum("bnhyxd,xjd->bnhyxj", by_pixel, self.rel_width[offsets])
        position = (by_y[..., None] + by_x[..., None, :]).flatten(5).flatten(3, 4)
        logits = torch.einsum("bnhqd,bnhkd->bnhqk", q, k) + position
        outside = unfold(inside, window, halo).permute(0, 1, 3, 2)[:, :, None] == 0
        logits = logits.masked_fill(outside.expand_as(logits), -torch.finfo(logits.dtype).max)
        out = torch.einsum("bnhqk,bnhkd->bnhqd", logits.softmax(-1), v)

        out = out.unflatten(1, (rows, columns)).unflatten(4, (block, block)).permute(0, 1, 4, 2, 5, 3, 6)
        out = out.reshape(batch, rows * block, columns * block, -1)[:, :height, :width]
        out = F.linear(out, self.to_out.weight, self.to_out.bias)
        return out.permute(0, 3, 1, 2)


def straightforward(block: nn.Module) -> nn.Module:
    """A copy of `block` with the same parameters and results, computed by the definition."""
    twin = copy.deepcopy(block)
    twin.__class__ = StraightforwardHaloAttention
    return twin
