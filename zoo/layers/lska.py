"""LSKA: large separable kernel attention (Lau, Po, Rehman, arXiv 2309.01439)."""

from __future__ import annotations

from torch import Tensor, nn

from zoo.errors import ChannelError
from zoo.layers.gate import Gate


class LargeSeparableKernelAttention(Gate):
    """Weighs each pixel by a large depthwise kernel around it, made of one-dimensional ones (equations 9 to 12).

    A kernel of side `kernel_size` is a dense one of `2 d - 1` pixels and then one of `kernel_size // d` taps, `d`
    pixels apart, each a row and a column after one another; `d` is 2 below 23 and 3 from there on, as in the paper's
    table. A 1x1 convolution mixes the channels. The weights are not bounded.

    Args:
        dim: Channels in and out.
        kernel_size: Side of the kernel, in pixels; 7, 11, 23, 35, 41 and 53 in the paper.

    Raises:
        ChannelError: `kernel_size` does not come apart into odd kernels.
    """

    def __init__(self, dim: int, *, kernel_size: int = 23) -> None:
        super().__init__()
        dilation = 2 if kernel_size < 23 else 3
        near, far = 2 * dilation - 1, kernel_size // dilation
        if far < 3 or far % 2 == 0:
            raise ChannelError(
                f"large kernel attention: a kernel_size of {kernel_size} has {far} taps {dilation} pixels apart, but "
                "needs an odd number of them, three or more; the paper's sizes are 7, 11, 23, 35, 41 and 53"
            )
        reach = dilation * (far // 2)
        self.near_row = nn.Conv2d(dim, dim, (1, near), padding=(0, near // 2), groups=dim)
        self.near_column = nn.Conv2d(dim, dim, (near, 1), padding=(near // 2, 0), groups=dim)
        self.far_row = nn.Conv2d(dim, dim, (1, far), padding=(0, reach), dilation=(1, dilation), groups=dim)
        self.far_column = nn.Conv2d(dim, dim, (far, 1), padding=(reach, 0), dilation=(dilation, 1), groups=dim)
        self.mix = nn.Conv2d(dim, dim, 1)

    def weights(self, x: Tensor) -> Tensor:
        """`(B, dim, H, W)`."""
        return self.mix(self.far_column(self.far_row(self.near_column(self.near_row(x)))))
