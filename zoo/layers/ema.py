"""EMA: efficient multi-scale attention with cross-spatial learning (Ouyang et al., arXiv 2305.13563)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
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
        weights = self._of_groups(x).unsqueeze(2).expand(-1, -1, x.shape[1] // self.groups, -1, -1)
        return weights.flatten(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        weights = self._of_groups(x)
        if x.is_contiguous(memory_format=torch.channels_last):
            weights = weights.contiguous(memory_format=torch.channels_last)
        grouped = x.unflatten(1, (self.groups, -1))
        return (grouped * (weights - 1).unsqueeze(2).to(x.dtype)).flatten(1, 2)

    def _of_groups(self, x: Tensor) -> Tensor:
        """The weights of each group's pixels, `(B, groups, H, W)`."""
        height, width = x.shape[2:]
        grouped = x.contiguous().view(-1, x.shape[1] // self.groups, height, width)
        row_means = grouped.mean(3)
        lines = torch.cat((row_means, grouped.mean(2)), 2).unsqueeze(3)
        rows, columns = self.conv1x1(lines).sigmoid().split((height, width), 2)
        normed = self.norm(grouped * rows * columns.transpose(2, 3))

        # The mean of the 3x3 branch is its kernel's answer to the mean of what each tap sees, and its weighted sum is
        # one kernel's answer; that branch is never formed.
        kernel, bias = self.conv3x3.weight.flatten(1), self.conv3x3.get_parameter("bias")
        seen = _under_taps(grouped, row_means).transpose(2, 3)
        seen = _under_taps(seen, seen.mean(3)).transpose(2, 3)
        of_three = F.linear(seen.flatten(1), kernel, bias).softmax(1)
        of_one = self.norm.bias.softmax(0)
        three = _convolve(grouped, of_one @ kernel)
        one = (of_three.unsqueeze(1) @ normed.flatten(2)).unflatten(2, (height, width))
        return (one + three + of_one @ bias).sigmoid().view(-1, self.groups, height, width)


def _under_taps(x: Tensor, means: Tensor) -> Tensor:
    """What each tap of a kernel of three sees along the last axis, zeros beyond its ends, on average: `(..., 3)`.

    Args:
        x: `(..., N)`.
        means: Over the last axis, `(...)`.
    """
    last, first = x[..., -1], x[..., 0]
    return means.unsqueeze(-1) - torch.stack((last, torch.zeros_like(last), first), -1) / x.shape[-1]


def _convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """One 3x3 kernel `(C * 9)` over `(N, C, H, W)`, to `(N, 1, H, W)`; a convolution is slow at one channel out."""
    height, width = x.shape[2:]
    taps = (kernel.view(-1, 9).T @ x.flatten(2)).unflatten(2, (height, width)).unflatten(1, (3, 3))
    taps = F.pad(taps, (1, 1, 1, 1))
    rows = taps[:, :, 0, :, :width] + taps[:, :, 1, :, 1 : width + 1] + taps[:, :, 2, :, 2:]
    return (rows[:, 0, :height] + rows[:, 1, 1 : height + 1] + rows[:, 2, 2:]).unsqueeze(1)
