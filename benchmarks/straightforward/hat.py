"""Hybrid attention as it circulates: windows copied around, attention matrices and dense masks materialised."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.layers.hat import OverlappingCrossAttention, WindowAttention
from zoo.layers.pixelwise import PixelLinear


def partition(x: Tensor, window: int) -> Tensor:
    """`(B, H, W, C)` to `(B * windows, window**2, C)`."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // window, window, width // window, window, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window**2, channels)


def merge(x: Tensor, window: int, height: int, width: int) -> Tensor:
    """The inverse of `partition`."""
    x = x.view(-1, height // window, width // window, window, window, x.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, x.shape[-1])


def pad(x: Tensor, window: int) -> Tensor:
    return F.pad(x, (0, 0, 0, -x.shape[2] % window, 0, -x.shape[1] % window))


def split_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, blocked: Tensor) -> Tensor:
    """Windows `(B * windows, heads, N, d)`, a bias `(heads, N, M)`, a mask `(windows, N, M)`."""
    logits = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1) + bias
    mask = torch.zeros(blocked.shape, dtype=q.dtype, device=q.device).masked_fill(blocked, float("-inf"))
    logits = logits.view(-1, len(mask), *logits.shape[1:]) + mask[:, None]
    return (logits.flatten(0, 1).softmax(-1) @ v).transpose(1, 2).flatten(2)


class StraightforwardWindowAttention(WindowAttention):
    def forward(self, x: Tensor) -> Tensor:
        _, height, width, _ = x.shape
        window, shift = self.window_size, self.shift_size
        region = torch.zeros(1, height, width, 1, device=x.device)
        x, region = pad(x, window), pad(region + 1, window)
        region[:, :shift] += 2
        region[:, :, :shift] += 4
        region = partition(region.roll((-shift, -shift), (1, 2)), window).squeeze(-1)

        windows = partition(x.roll((-shift, -shift), (1, 2)), window)
        q, k, v = (split_heads(t, self.heads) for t in self.qkv(windows).chunk(3, -1))
        bias = self.relative_position_bias_table[self.index].permute(2, 0, 1).contiguous()
        y = self.proj(attention(q, k, v, bias, region[:, None] != region[:, :, None]))
        y = merge(y, window, x.shape[1], x.shape[2]).roll((shift, shift), (1, 2))
        return y[:, :height, :width]


class StraightforwardOverlap(OverlappingCrossAttention):
    def attend(self, x: Tensor) -> Tensor:
        _, height, width, dim = x.shape
        window, margin = self.window_size, self.margin
        side = window + 2 * margin
        q, kv = pad(self.qkv(x), window).split((dim, 2 * dim), -1)
        inside = pad(torch.ones(1, height, width, 1, dtype=x.dtype, device=x.device), window)

        def unfold(t: Tensor) -> Tensor:
            columns = F.unfold(t.permute(0, 3, 1, 2), side, padding=margin, stride=window)
            return columns.unflatten(1, (-1, side**2)).permute(0, 3, 2, 1).flatten(0, 1)

        k, v = (split_heads(t, self.heads) for t in unfold(kv).chunk(2, -1))
        blocked = unfold(inside).transpose(1, 2) == 0
        bias = self.relative_position_bias_table[self.index].permute(2, 0, 1).contiguous()
        y = self.proj(attention(split_heads(partition(q, window), self.heads), k, v, bias, blocked))
        return merge(y, window, *inside.shape[1:3])[:, :height, :width]


SLOW = {
    WindowAttention: StraightforwardWindowAttention,
    OverlappingCrossAttention: StraightforwardOverlap,
    PixelLinear: nn.Linear,
}


def straightforward(block: nn.Module) -> nn.Module:
    """A copy of `block` with the same parameters and results, its attention computed the circulating way."""
    twin = copy.deepcopy(block)
    for part in twin.modules():
        part.__class__ = SLOW.get(type(part), type(part))
    return twin
