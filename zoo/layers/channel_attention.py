"""The convolutional branch of HAT's hybrid blocks, whose channels are gated."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.layers.attention import Gates


class ChannelAttention(nn.Module):
    """Gate each channel by a sigmoid of the pooled map (squeeze and excitation), `(B, C, H, W)` to the same."""

    def __init__(self, dim: int, squeezed: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(dim, squeezed, 1), nn.ReLU(), nn.Conv2d(squeezed, dim, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)


class ChannelAttentionBlock(nn.Module):
    """The convolutional branch of a hybrid block (CAB): a 3x3 bottleneck, then channel attention."""

    def __init__(self, dim: int, compressed: int, squeezed: int) -> None:
        super().__init__()
        self.cab = nn.Sequential(
            nn.Conv2d(dim, compressed, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(compressed, dim, 3, padding=1),
            ChannelAttention(dim, squeezed),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.cab(x)

    def attention(self, x: Tensor) -> Gates:
        """The factor of each channel."""
        *convolutions, gate = self.cab
        assert isinstance(gate, ChannelAttention)
        return Gates(channels=gate.attention(nn.Sequential(*convolutions)(x)).flatten(1))
