"""SimAM: pixels that stand out from their channel weigh more (Yang et al., ICML 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.layers.gate import Gate


class SimAM(Gate):
    """Weighs every pixel of a channel by how far it is from the channel's mean, without parameters.

    A neuron's importance is the inverse of the least energy of a linear separation of it from its channel (equations
    4 and 5 of the paper, with `mean` and `variance` over the `H * W` pixels of the channel):

        w = sigmoid(1 / e),   1 / e = (x - mean)^2 / (4 (variance + energy_lambda)) + 1 / 2

    The official code divides the variance by `H * W - 1`, where the paper has `H * W`; here it is the paper's, which
    also takes maps of one pixel.

    Args:
        dim: Channels in and out.
        energy_lambda: Regularisation of the separation.
    """

    def __init__(self, dim: int, *, energy_lambda: float = 1e-4) -> None:
        super().__init__()
        self.energy_lambda = energy_lambda

    def extra_repr(self) -> str:
        """Show the setting."""
        return f"energy_lambda={self.energy_lambda}"

    def weights(self, x: Tensor) -> Tensor:
        """`(B, dim, H, W)`, in float32 (float64 for a float64 input)."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        squares = (x - x.mean((2, 3), keepdim=True)).square()
        scale = 0.25 / (squares.mean((2, 3), keepdim=True) + self.energy_lambda)
        return torch.sigmoid(squares * scale + 0.5)
