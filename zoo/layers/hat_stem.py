"""Hybrid attention on an image, under the name that it had as a block of its own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from zoo.layers.hat import HybridAttention


class HybridAttentionStem(nn.Module):
    """`HybridAttention` with `fold=reduction`, kept for the configurations and checkpoints that name it.

    Args:
        dim: Channels of the image.
        reduction: Pixels folded along each side.
        **options: Passed to `HybridAttention`.

    Shape:
        `(B, dim, H, W)` to `(B, dim, H, W)`.
    """

    def __init__(self, dim: int, *, reduction: int = 8, **options: Any) -> None:
        super().__init__()
        self.reduction = reduction
        self.attention = HybridAttention(dim, fold=reduction, **options)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.attention.fold = self.reduction

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x)
