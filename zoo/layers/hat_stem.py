"""Hybrid attention on an image, at reduced resolution inside."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.layers.hat import HybridAttention


class HybridAttentionStem(nn.Module):
    """Fold `reduction x reduction` pixels into channels, attend, and unfold back to pixels.

    Folding is lossless (pixel unshuffle, arXiv 1609.05158, read backwards), so the block sees every pixel while
    the windows of the attention inside cover `reduction` times more of the image.

    Args:
        dim: Channels of the image.
        reduction: Pixels folded along each side.
        **options: Passed to `HybridAttention`.

    Shape:
        `(B, dim, H, W)` to `(B, dim, H, W)`; H and W not divisible by `reduction` are zero-padded inside.
    """

    def __init__(self, dim: int, *, reduction: int = 8, **options: object) -> None:
        super().__init__()
        self.reduction = reduction
        self.attention = HybridAttention(dim * reduction**2, **options)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        padded = F.pad(x, (0, -width % self.reduction, 0, -height % self.reduction))
        y = F.pixel_shuffle(self.attention(F.pixel_unshuffle(padded, self.reduction)), self.reduction)
        return y[..., :height, :width]
