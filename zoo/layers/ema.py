"""EMA: efficient multi-scale attention with cross-spatial learning (Ouyang et al., arXiv 2305.13563)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from zoo.errors import ChannelError
from zoo.layers.gate import Gate


class EfficientMultiscaleAttention(Gate):
    """Two branches of each group of channels, a 1x1 and a 3x3 convolution, weigh each other's pixels (section 3.2).

    The first branch gates rows and columns as coordinate attention does, and is normalised over the map; the second
    is a plain convolution. The channels of each branch, averaged over the map and put through a softmax, sum up the
    other branch, and the two sums together weigh the pixels of the group, the same for all its channels. Convolutions
    are shared by the groups.

    The first branch is normalised channel by channel, as in the official code, so the average of a channel over the
    map is the normalisation's bias whatever the image: it is read from there.

    Args:
        dim: Channels in and out.
        groups: Groups of channels, a divisor of `dim`; default the largest power of two that leaves eight channels a
            group, 32 at most.

    Raises:
        ChannelError: `groups` does not divide `dim`.
    """

    def __init__(self, dim: int, *, groups: int | None = None) -> None:
        super().__init__()
        if groups is None:
            groups = math.gcd(dim, 32)
            while groups > 1 and dim < 8 * groups:
                groups //= 2
        if groups < 1 or dim % groups:
            raise ChannelError(
                f"multi-scale attention needs groups to divide its channels, got dim={dim}, groups={groups}; choose "
                f"groups among the divisors of {dim}"
            )
        self.groups = groups
        self.conv1x1 = nn.Conv2d(dim // groups, dim // groups, 1)
        self.conv3x3 = nn.Conv2d(dim // groups, dim // groups, 3, padding=1)
        self.norm = nn.GroupNorm(dim // groups, dim // groups)

    def weights(self, x: Tensor) -> Tensor:
        """`(B, dim, H, W)`, alike over the channels of a group."""
        batch, dim, height, width = x.shape
        grouped = x.reshape(batch * self.groups, dim // self.groups, height, width)
        lines = torch.cat((grouped.mean(3), grouped.mean(2)), 2).unsqueeze(3)
        rows, columns = self.conv1x1(lines).sigmoid().split((height, width), 2)
        one = self.norm(grouped * rows * columns.transpose(2, 3))
        three = self.conv3x3(grouped)
        of_one = self.norm.bias.softmax(0)[None, :, None]
        of_three = three.mean((2, 3)).softmax(1).unsqueeze(2)
        summed = (one.flatten(2) * of_three + three.flatten(2) * of_one).sum(1)
        weights = summed.sigmoid().view(batch, self.groups, 1, height, width)
        return weights.expand(-1, -1, dim // self.groups, -1, -1).reshape(batch, dim, height, width)
