"""Hybrid attention on an image, under the name that it had as a block of its own."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.layers.attention import Gates, Points
from zoo.layers.hat import HybridAttention, unfolded

MOST_CHANNELS = 1024


class HybridAttentionStem(nn.Module):
    """What `HybridAttention` with `fold=reduction` does, but with the channels of folded pixels in another order.

    Kept for the configurations and checkpoints that name it.

    Args:
        dim: Channels of the image.
        reduction: Pixels folded along each side, default 8 or the power of two below that makes no more than
            `MOST_CHANNELS` of them.
        **options: Passed to `HybridAttention`.

    Shape:
        `(B, dim, H, W)` to `(B, dim, H, W)`; H and W not divisible by `reduction` are zero-padded inside.
    """

    def __init__(self, dim: int, *, reduction: int | None = None, **options: Any) -> None:
        super().__init__()
        if reduction is None:
            reduction = 8
            while reduction > 1 and dim * reduction**2 > MOST_CHANNELS:
                reduction //= 2
        self.reduction = reduction
        self.attention = HybridAttention(dim * reduction**2, **options)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        return F.pixel_shuffle(self.attention(self._fold(x)), self.reduction)[..., :height, :width]

    def attention_told(self, x: Tensor, at: Tensor) -> dict[str, Points | Gates]:
        """See `zoo.layers.attention`; what is seen are the middles of folded squares."""
        return unfolded(self.attention.attention(self._fold(x), at // self.reduction), self.reduction)

    def _fold(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        padded = F.pad(x, (0, -width % self.reduction, 0, -height % self.reduction))
        return F.pixel_unshuffle(padded, self.reduction)
