"""Double attention of A2-Nets (Chen et al. 2018, arXiv 1810.11579)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import ChannelError


class DoubleAttention(nn.Module):
    """Gather the image into `c_n` global descriptors, then give every pixel its own mixture of them.

    With `A` (features), `B` (gathering logits) and `V` (distribution logits) three 1x1 convolutions of the input over
    `N = H * W` pixels (section 3 of the paper), the output is `conv_reconstruct(Z)`, or `Z` without `reconstruct`:

        Z = A softmax_N(B)^T softmax_{c_n}(V)          (c_m, N)

    Both softmaxes sum to one, so the convolutions before the gathering and after the distribution act, biases
    included, on the `c_n` descriptors instead of the `N` pixels: neither `A` nor `Z` is formed at full resolution
    (on a map of fewer pixels than channels this would not pay, and the definition is followed to the letter). For the
    same reason a bias of `B` has no effect, and there is none. The paper's residual is left to the caller.

    Args:
        dim: Channels of the input.
        c_m: Channels of a descriptor, default `dim // 2`.
        c_n: Number of descriptors, default `dim // 2`.
        reconstruct: Project back to `dim` channels.

    Shape:
        `(B, dim, H, W)` to `(B, dim, H, W)`, or to `(B, c_m, H, W)` without `reconstruct`.

    Raises:
        ChannelError: `c_m < 1`, or `c_n < 2`: with a single descriptor the output is constant over the image.
    """

    def __init__(self, dim: int, *, c_m: int | None = None, c_n: int | None = None, reconstruct: bool = True) -> None:
        super().__init__()
        c_m = dim // 2 if c_m is None else c_m
        c_n = dim // 2 if c_n is None else c_n
        if c_m < 1 or c_n < 2:
            raise ChannelError(
                f"double attention on {dim} channels got c_m={c_m}, c_n={c_n}, but needs c_m >= 1 and c_n >= 2 "
                "(one descriptor alone makes the output constant over the image): pass larger values"
            )
        self.convA = nn.Conv2d(dim, c_m, 1)
        self.convB = nn.Conv2d(dim, c_n, 1, bias=False)
        self.convV = nn.Conv2d(dim, c_n, 1)
        self.conv_reconstruct = nn.Conv2d(c_m, dim, 1) if reconstruct else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(2)
        if isinstance(pixels.shape[2], int) and pixels.shape[2] < x.shape[1]:
            gather, distribute = self.convB(x).flatten(2).softmax(2), self.convV(x).flatten(2).softmax(1)
            z = self.convA(x).flatten(2) @ gather.transpose(1, 2) @ distribute
            return self.conv_reconstruct(z.unflatten(2, x.shape[2:])).to(x.dtype)

        weight = torch.cat((self.convB.weight, self.convV.weight)).flatten(1).expand(x.shape[0], -1, -1)
        bias = F.pad(self.convV.bias, (self.convB.out_channels, 0)).unsqueeze(1)  # type: ignore[arg-type]
        gather, distribute = torch.baddbmm(bias, weight, pixels).chunk(2, 1)
        gather, distribute = gather.softmax(2), distribute.softmax(1)
        gathered = (pixels @ gather.transpose(1, 2)).unsqueeze(3)
        descriptors = self.conv_reconstruct(self.convA(gathered)).squeeze(3)
        if x.is_contiguous(memory_format=torch.channels_last):
            y = (distribute.transpose(1, 2) @ descriptors.transpose(1, 2)).transpose(1, 2)
        else:
            y = descriptors @ distribute
        return y.unflatten(2, x.shape[2:]).to(x.dtype)
