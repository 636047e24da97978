"""A bottleneck of plain convolutions: what attention is compared with when it spends the same parameters."""

from __future__ import annotations

import math

from torch import Tensor, nn

from zoo.errors import ChannelError


class ConvBlock(nn.Module):
    """1x1 convolution to `width` channels, 3x3 convolution among them, 1x1 convolution back.

    The first two are followed by batch normalisation and SiLU, as a YOLO's convolutions are. Nothing here weighs one
    pixel or channel by what another holds, so a graft of attention that does not beat a graft of this, given as many
    parameters, has gained by its size.

    Args:
        dim: Channels in and out.
        params: Parameters to spend; the width is the largest that stays within them. `dim // 2` channels wide if None.
        depthwise: The 3x3 convolution works on each channel alone.

    Shape:
        `(B, dim, H, W)` to `(B, dim, H, W)`, any H and W, in the dtype of the input.

    Raises:
        ChannelError: `params` do not pay for a single channel.
    """

    def __init__(self, dim: int, *, params: int | None = None, depthwise: bool = True) -> None:
        super().__init__()
        width = max(dim // 2, 1) if params is None else affordable_width(dim, params, depthwise)
        if width < 1:
            least = _cost(dim, 1, depthwise)
            raise ChannelError(
                f"a convolution block on {dim} channels has at least {least} parameters, got params={params}; pass "
                f"params={least} or more"
            )
        self.body = nn.Sequential(
            nn.Conv2d(dim, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1, groups=width if depthwise else 1, bias=False),
            nn.BatchNorm2d(width),
            nn.SiLU(),
            nn.Conv2d(width, dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def affordable_width(dim: int, params: int, depthwise: bool) -> int:
    """The largest width whose block has at most `params` parameters, 0 if there is none."""
    linear, square = 2 * dim + (13 if depthwise else 4), 0 if depthwise else 9
    left = params - dim
    if left < 0:
        return 0
    if not square:
        return left // linear
    return (math.isqrt(linear**2 + 4 * square * left) - linear) // (2 * square)


def _cost(dim: int, width: int, depthwise: bool) -> int:
    return 2 * dim * width + 9 * width * (1 if depthwise else width) + 4 * width + dim
