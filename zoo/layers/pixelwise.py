"""Linear layers on channels-last maps."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def pixelwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` on a map `(B, H, W, C)`, computed as a 1x1 convolution.

    On the CPU PyTorch multiplies matrices by MKL but convolves by oneDNN, which was twice as fast on an AMD EPYC with
    AVX-512 (with one thread PyTorch takes MKL for both).
    """
    return F.conv2d(x.permute(0, 3, 1, 2), weight[:, :, None, None], bias).permute(0, 2, 3, 1)


class PixelLinear(nn.Linear):
    """`nn.Linear` for maps `(B, H, W, C)`."""

    def forward(self, x: Tensor) -> Tensor:
        return pixelwise(x, self.weight, self.bias)


class MLP(nn.Module):
    """Two linear layers with an exact GELU between, on channels-last maps."""

    def __init__(self, dim: int, ratio: float) -> None:
        super().__init__()
        self.fc1 = PixelLinear(dim, int(dim * ratio))
        self.fc2 = PixelLinear(int(dim * ratio), dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))
