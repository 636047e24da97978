"""How an attention block joins a trained network without disturbing it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Graft(nn.Module):
    """A residual block behind a per-channel gate: `y = x + gamma * block(x)`.

    The gate is zero at birth, so the network around it computes exactly what it did before, and opens by training
    (LayerScale, arXiv 2103.17239, section 3, started at zero). The block's own parameters receive a gradient from
    the first step after which gamma is not zero.

    Args:
        block: Maps `(B, dim, H, W)` to the same shape.
        dim: Channels of the map.

    Shape:
        `(B, dim, H, W)` to `(B, dim, H, W)`.
    """

    def __init__(self, block: nn.Module, dim: int) -> None:
        super().__init__()
        self.block = block
        self.gamma = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(x, self.gamma[:, None, None], self.block(x))
