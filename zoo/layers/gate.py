"""Blocks that weigh what they are given."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.layers.attention import Gates


class Gate(nn.Module):
    """A block whose paper multiplies the map with weights computed from it, `x * w`.

    A graft adds its block to the input, so the block is what the weights change, `x * (w - 1)`: then
    `x + gamma * block(x)` is `x * (1 + gamma * (w - 1))`, the input at gamma 0, the paper's `x * w` at gamma 1, and a
    mixture of the two between them. Subclasses compute `weights`.

    Shape:
        `(B, dim, H, W)` to `(B, dim, H, W)`, any H and W, in the dtype of the input.
    """

    def weights(self, x: Tensor) -> Tensor:
        """The factors `w`, `(B, dim, H, W)` or what broadcasts to it."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.weights(x) - 1).to(x.dtype)

    def attention(self, x: Tensor, at: Tensor) -> dict[str, Gates]:
        """The weights, averaged over the map for each channel and over the channels for each pixel."""
        weights = self.weights(x).expand_as(x)
        return {"weights": Gates(channels=weights.mean((2, 3)), pixels=weights.mean(1))}
