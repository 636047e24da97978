"""GAM: global attention that keeps all three dimensions (Liu, Shao, Hoffmann, arXiv 2112.05561)."""

from __future__ import annotations

import math

from torch import Tensor, nn

from zoo.errors import ChannelError
from zoo.layers.gate import Gate


class GlobalAttention(Gate):
    """Weighs each channel of each pixel by a network across channels, then by two wide convolutions (section 3).

    With `F` the map, `M_c` a two-layer perceptron along the channels of every pixel, and `M_s` two 7x7 convolutions
    with batch normalisation, each ending in a sigmoid, nothing being pooled:

        F' = F * M_c(F),   result = F' * M_s(F')

    Two 7x7 convolutions between all channels have 0.8 million parameters at 256 channels. The paper cuts them into
    groups, with channel shuffle, where that is too many; here that is the default, and the shuffle lies between the
    two, so that every channel is reached from every other.

    Args:
        dim: Channels in and out.
        reduction: `dim` over the hidden channels of both parts.
        groups: Groups of the wide convolutions, a divisor of `dim` and of the hidden channels; 1 for none, by default
            4 or the most that divide both.

    Raises:
        ChannelError: `groups` does not divide as said above, or `reduction` is not positive.
    """

    def __init__(self, dim: int, *, reduction: int = 4, groups: int | None = None) -> None:
        super().__init__()
        if reduction < 1:
            raise ChannelError(f"global attention needs a positive reduction, got {reduction}")
        hidden = max(1, dim // reduction)
        groups = math.gcd(4, dim, hidden) if groups is None else groups
        if groups < 1 or hidden % groups or dim % groups:
            raise ChannelError(
                f"global attention needs groups to divide its channels and its hidden channels, got dim={dim}, "
                f"{hidden} hidden, groups={groups}; choose groups among the divisors of {math.gcd(dim, hidden)}"
            )
        self.channel = nn.Sequential(nn.Conv2d(dim, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, dim, 1), nn.Sigmoid())
        self.groups = groups
        self.gather = nn.Sequential(
            nn.Conv2d(dim, hidden, 7, padding=3, groups=groups, bias=False), nn.BatchNorm2d(hidden), nn.ReLU()
        )
        self.spread = nn.Sequential(
            nn.Conv2d(hidden, dim, 7, padding=3, groups=groups, bias=False), nn.BatchNorm2d(dim), nn.Sigmoid()
        )

    def weights(self, x: Tensor) -> Tensor:
        """`(B, dim, H, W)`."""
        by_channel = self.channel(x)
        gathered = self.gather(x * by_channel)
        shuffled = gathered.unflatten(1, (self.groups, -1)).transpose(1, 2).flatten(1, 2)
        return by_channel * self.spread(shuffled)
