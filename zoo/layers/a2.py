"""Double attention of A2-Nets (Chen et al. 2018, arXiv 1810.11579).

The straightforward twin is `benchmarks/straightforward/a2.py`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import ChannelError
from zoo.layers.attention import Descriptors


class DoubleAttention(nn.Module):
    """Gather the image into `c_n` global descriptors, then give every pixel its own mixture of them.

    With `A` (features), `B` (gathering logits) and `V` (distribution logits) three 1x1 convolutions of the input over
    `N = H * W` pixels (section 3 of the paper), the output is `conv_reconstruct(Z)`, where

        Z = A softmax_N(B)^T softmax_{c_n}(V)          (c_m, N)

    Both softmaxes sum to one, so the last convolution acts, bias included, on the `c_n` descriptors instead of the `N`
    pixels, and `Z` is never formed. For the same reason a bias of `B` has no effect, and there is none. The paper's
    residual is left to the caller.

    Args:
        dim: Channels of the input.
        c_m: Channels of a descriptor, default `dim // 2` but at least one.
        c_n: Number of descriptors, default `dim // 2` but at least two.

    Shape:
        `(B, dim, H, W)` to `(B, dim, H, W)`.

    Raises:
        ChannelError: `c_m < 1`, or `c_n < 2`: with a single descriptor the output is constant over the image.
    """

    def __init__(self, dim: int, *, c_m: int | None = None, c_n: int | None = None) -> None:
        super().__init__()
        c_m = max(1, dim // 2) if c_m is None else c_m
        c_n = max(2, dim // 2) if c_n is None else c_n
        if c_m < 1 or c_n < 2:
            raise ChannelError(
                f"double attention on {dim} channels got c_m={c_m}, c_n={c_n}, but needs c_m >= 1 and c_n >= 2 "
                "(one descriptor alone makes the output constant over the image): pass larger values"
            )
        self.convA = nn.Conv2d(dim, c_m, 1)
        self.convB = nn.Conv2d(dim, c_n, 1, bias=False)
        self.convV = nn.Conv2d(dim, c_n, 1)
        self.conv_reconstruct = nn.Conv2d(c_m, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        features, gather, distribute = self._maps(x)
        gathered = features @ gather.transpose(1, 2)
        descriptors = self.conv_reconstruct(gathered.unsqueeze(3)).squeeze(3)
        if x.is_contiguous(memory_format=torch.channels_last):
            y = (distribute.transpose(1, 2) @ descriptors.transpose(1, 2)).transpose(1, 2)
        elif isinstance(x.shape[0], int) and x.shape[0] == 1:  # on the CPU convolutions outrun products of matrices
            y = F.conv1d(distribute, descriptors.squeeze(0).unsqueeze(2))
        else:
            y = descriptors @ distribute
        return y.unflatten(2, x.shape[2:]).to(x.dtype)

    def attention(self, x: Tensor, at: Tensor) -> dict[str, Descriptors]:
        """See `zoo.layers.attention`."""
        _, gather, distribute = self._maps(x)
        return {"descriptors": Descriptors(*(t.unflatten(2, x.shape[2:]) for t in (gather, distribute)))}

    def _maps(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features `(B, c_m, N)`, and the weights of gathering and distributing `(B, c_n, N)`."""
        weight = torch.cat((self.convA.weight, self.convB.weight, self.convV.weight))
        zeros = weight.new_zeros(self.convB.out_channels)
        bias = torch.cat((self.convA.bias, zeros, self.convV.bias))  # type: ignore[arg-type]
        sizes = (self.convA.out_channels, self.convB.out_channels, self.convV.out_channels)
        features, gather, distribute = F.conv2d(x, weight, bias).flatten(2).split(sizes, 1)
        return features, gather.softmax(2), distribute.softmax(1)
