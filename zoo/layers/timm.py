"""timm's attention modules as blocks. This file alone knows timm, and imports it when a block is made.

Most of timm's modules answer with the whole result: `x * w` for a gate, `x + f(x)` for a residual. A graft adds its
block to the input, so such a block is what the module adds, `module(x) - x`: then `x + gamma * block(x)` is the input
at gamma 0, timm's module, which is the paper's, at gamma 1, and between them a mixture of the two. For a gate that is
`x * (1 + gamma * (w - 1))`. Modules that take a convolution's place return no input, and are added as they are.

Not here: `halo`, which does not take any size (the zoo's own does), and `bottleneck`, which is made for one size.

Options have timm's names and defaults, but hidden layers have eight channels at least: on the narrow maps of a small
YOLO, timm's ratios leave one or two, and a ReLU that is off for both is a block that never learns. Every class here
maps `(B, dim, H, W)` to `(B, dim, H, W)`, any H and W, in the dtype of the input.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import ChannelError
from zoo.layers.attention import Descriptors, Gates, Points

HIDDEN = 8


class TimmLayer(nn.Module):
    """One module of timm's attention factory, by the factory's name.

    Parameters of it that are zero at birth are drawn as PyTorch draws them instead: the graft's gamma is the gate that
    is closed at birth, and behind two closed gates nothing would learn.
    """

    def __init__(self, kind: str, dim: int, **options: Any) -> None:
        super().__init__()
        from timm.layers import create_attn

        self.attn = create_attn(kind, dim, **options)
        for module in self.attn.modules():
            if isinstance(getattr(module, "weight", None), Tensor) and not module.weight.any():
                module.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        return self.attn(x)

    def _returned(self, part: nn.Module, x: Tensor) -> Tensor:
        """What a part of the module returns in a forward pass."""
        seen: list[Tensor] = []
        handle = part.register_forward_hook(lambda _, inputs, output: seen.append(output))
        try:
            self.attn(x)
        finally:
            handle.remove()
        return seen[0]


class TimmResidual(TimmLayer):
    """A module that returns its input, scaled or added to: the block is the difference."""

    def forward(self, x: Tensor) -> Tensor:
        return self.attn(x) - x


class TimmGate(TimmResidual):
    """A module that returns its input, scaled."""

    def attention(self, x: Tensor, at: Tensor) -> dict[str, Gates]:
        """How much of each channel and of each pixel comes through: its mean size after the module over that before."""
        before, after = x.abs(), self.attn(x).abs()
        least = torch.finfo(x.dtype).tiny
        return {
            "weights": Gates(
                channels=after.mean((2, 3)) / before.mean((2, 3)).clamp(min=least),
                pixels=after.mean(1) / before.mean(1).clamp(min=least),
            )
        }


class SqueezeExcite(TimmGate):
    """Scales each channel by what a small network makes of all means (arXiv 1709.01507)."""

    def __init__(
        self, dim: int, *, rd_ratio: float = 1 / 16, rd_channels: int | None = None, add_maxpool: bool = False
    ) -> None:
        super().__init__("se", dim, rd_ratio=rd_ratio, rd_channels=rd_channels, add_maxpool=add_maxpool)


class EffectiveSqueezeExcite(TimmGate):
    """Scales each channel by one full layer of all means (arXiv 1911.06667)."""

    def __init__(self, dim: int, *, add_maxpool: bool = False) -> None:
        super().__init__("ese", dim, add_maxpool=add_maxpool)


class EfficientChannel(TimmGate):
    """Scales each channel by a convolution over the channels' means (arXiv 1910.03151).

    Its length is the odd number by `(log2(dim) + beta) / gamma`, 3 at least.
    """

    def __init__(self, dim: int, *, gamma: float = 2.0, beta: float = 1.0) -> None:
        super().__init__("eca", dim, gamma=gamma, beta=beta)


class EfficientChannelHidden(TimmGate):
    """`EfficientChannel` with a hidden layer, an experiment of timm."""

    def __init__(self, dim: int, *, gamma: float = 2.0, beta: float = 1.0, rd_channels: int = HIDDEN) -> None:
        super().__init__("ecam", dim, gamma=gamma, beta=beta, rd_channels=rd_channels)


class CircularEfficientChannel(TimmGate):
    """`EfficientChannel` whose last channel is beside its first, an experiment of timm."""

    def __init__(self, dim: int, *, gamma: float = 2.0, beta: float = 1.0) -> None:
        super().__init__("ceca", dim, gamma=gamma, beta=beta)


class GatherExcite(TimmGate):
    """Scales channels by their means over the map, or over neighbourhoods of it (arXiv 1810.12348).

    timm 1.0.31 cannot make this module with its small network (it passes a keyword's name in a channel count's place),
    so the network is put in here.

    Args:
        dim: Channels in and out.
        extent: Side of a neighbourhood, even, or 0 for the whole map.
        use_mlp: Pass the means through the small network.
        rd_ratio: Hidden channels of the network over `dim`.
        rd_channels: Hidden channels, in place of the ratio.
    """

    def __init__(
        self,
        dim: int,
        *,
        extent: int = 0,
        use_mlp: bool = True,
        rd_ratio: float = 1 / 16,
        rd_channels: int | None = None,
    ) -> None:
        if extent < 0 or extent % 2:
            raise ChannelError(f"gather-excite needs an even extent, or 0 for the whole map, got extent={extent}")
        super().__init__("ge", dim, extent=extent, use_mlp=False)
        if use_mlp:
            from timm.layers import ConvMlp, make_divisible

            self.attn.mlp = ConvMlp(dim, rd_channels or make_divisible(dim * rd_ratio, HIDDEN, round_limit=0.0))


class GlobalContext(TimmGate):
    """Scales each channel by what a small network makes of a weighted mean of the pixels (arXiv 1904.11492)."""

    def __init__(self, dim: int, *, rd_ratio: float = 1 / 8, rd_channels: int | None = None) -> None:
        super().__init__("gc", dim, rd_ratio=rd_ratio, rd_channels=rd_channels, rd_divisor=HIDDEN)


class AddedGlobalContext(TimmResidual):
    """Adds to every pixel what a small network makes of a weighted mean of the pixels, as the paper of `gc` does."""

    def __init__(self, dim: int, *, rd_ratio: float = 1 / 8, rd_channels: int | None = None) -> None:
        super().__init__("gca", dim, rd_ratio=rd_ratio, rd_channels=rd_channels, rd_divisor=HIDDEN)

    def attention(self, x: Tensor, at: Tensor) -> dict[str, Descriptors]:
        """See `zoo.layers.attention`: the context is one descriptor, of which every pixel is given the same."""
        gathered = self.attn.conv_attn(x).flatten(2).softmax(2).unflatten(2, x.shape[2:])
        return {"context": Descriptors(gathered, torch.ones_like(gathered))}


class Cbam(TimmGate):
    """Scales each channel, then each pixel, by means and maxima (arXiv 1807.06521)."""

    KIND = "cbam"

    def __init__(
        self, dim: int, *, rd_ratio: float = 1 / 16, rd_channels: int | None = None, spatial_kernel_size: int = 7
    ) -> None:
        super().__init__(
            self.KIND,
            dim,
            rd_ratio=rd_ratio,
            rd_channels=rd_channels,
            rd_divisor=HIDDEN,
            spatial_kernel_size=spatial_kernel_size,
        )


class LightCbam(Cbam):
    """`Cbam` whose means and maxima are averaged first, an experiment of timm."""

    KIND = "lcbam"


class Coordinate(TimmGate):
    """Scales each row and each column of a channel by their means (arXiv 2103.02907).

    The means are taken of the permuted map: of channels-last maps, PyTorch then makes them in a tenth of the time.
    """

    def __init__(self, dim: int, *, rd_ratio: float = 1 / 16, rd_channels: int | None = None) -> None:
        super().__init__("coord", dim, rd_ratio=rd_ratio, rd_channels=rd_channels)

    def forward(self, x: Tensor) -> Tensor:
        attn, pixels = self.attn, x.permute(0, 2, 3, 1)
        lines = torch.cat((pixels.mean(2), pixels.mean(1)), 1).permute(0, 2, 1).unsqueeze(3)
        if x.is_contiguous():
            lines = lines.contiguous()
        rows, columns = attn.act(attn.bn1(attn.conv1(lines))).split(x.shape[2:], 2)
        rows, columns = attn.gate(attn.conv_h(rows)), attn.gate(attn.conv_w(columns.transpose(2, 3)))
        return x * (rows * columns - 1)


class SimpleCoordinate(TimmGate):
    """`Coordinate` by linear layers without normalisation, an experiment of timm."""

    def __init__(self, dim: int, *, rd_ratio: float = 0.25, rd_channels: int | None = None) -> None:
        super().__init__("scoord", dim, rd_ratio=rd_ratio, rd_channels=rd_channels)


class EfficientLocal(TimmGate):
    """Scales rows and columns by convolutions of their means along the axis (arXiv 2403.01123)."""

    def __init__(self, dim: int, *, kernel_size: int = 7) -> None:
        super().__init__("ela", dim, kernel_size=_odd("efficient local attention", kernel_size))


class Strip(TimmGate):
    """Scales each pixel by the sum of its row's and its column's mean (after arXiv 2003.13328)."""

    def __init__(self, dim: int, *, use_conv: bool = True, kernel_size: int = 3) -> None:
        super().__init__("strip", dim, use_conv=use_conv, kernel_size=_odd("strip attention", kernel_size))


class NonLocal(TimmResidual):
    """Every pixel attends to every other with one head (arXiv 1711.07971); logits for all pairs are kept in memory."""

    def __init__(self, dim: int, *, use_scale: bool = True, rd_ratio: float = 1 / 8) -> None:
        super().__init__("nl", dim, use_scale=use_scale, rd_ratio=rd_ratio)

    def attention(self, x: Tensor, at: Tensor) -> dict[str, Points]:
        """See `zoo.layers.attention`."""
        height, width = x.shape[2:]
        queries = self.attn.t(x)[:, :, at[:, 0], at[:, 1]].transpose(1, 2)
        weights = (queries @ self.attn.p(x).flatten(2) * self.attn.scale).softmax(-1).unsqueeze(1)
        rows, columns = (torch.arange(size, device=x.device, dtype=x.dtype) for size in (height, width))
        values = self.attn.g(x).flatten(2).transpose(1, 2)[:, None, None]
        positions = torch.cartesian_prod(rows, columns)
        shape = weights.shape
        return {"all pixels": Points(weights, positions.expand(*shape, 2), values.expand(*shape, values.shape[-1]))}


class BilinearNonLocal(TimmResidual):
    """Mixes rows and columns in blocks, by matrices read from the map (Chi et al., CVPR 2020).

    timm's module needs sides that are multiples of `block_size`; other maps are padded inside by their border, and
    the result is cut. Its dropout, which no ONNX graph can hold, is left out. Exported graphs take one size.
    """

    def __init__(self, dim: int, *, block_size: int = 7, groups: int = 2, rd_ratio: float = 0.25) -> None:
        super().__init__("bat", dim, block_size=block_size, groups=groups, rd_ratio=rd_ratio, drop_rate=0.0)
        self.block_size = block_size

    def forward(self, x: Tensor) -> Tensor:
        height, width = map(int, x.shape[2:])
        rows, columns = (torch.arange(size + -size % self.block_size, device=x.device) for size in (height, width))
        x = x.index_select(2, rows.clamp(max=height - 1)).index_select(3, columns.clamp(max=width - 1))
        return self.attn.conv2(self.attn.ba(self.attn.conv1(x)))[:, :, :height, :width]


class SelectiveKernel(TimmLayer):
    """Convolutions of two reaches, between which the map's means choose (arXiv 1903.06586).

    Its choice is batch-normalised over the images alone, so it trains on batches of two or more.
    """

    def __init__(self, dim: int, *, groups: int = 1, rd_ratio: float = 1 / 16, split_input: bool = True) -> None:
        super().__init__(
            "sk", _multiple("selective kernels", dim, 2), groups=groups, rd_ratio=rd_ratio, split_input=split_input
        )

    def attention(self, x: Tensor, at: Tensor) -> dict[str, Gates]:
        """How much of each channel is taken from either convolution."""
        near, far = self._returned(self.attn.attn, x).flatten(2).unbind(1)
        return {"3 pixels wide": Gates(channels=near), "5 pixels wide": Gates(channels=far)}


class Split(TimmLayer):
    """Convolutions of `radix` groups, between which the map's means choose (arXiv 2004.08955)."""

    def __init__(self, dim: int, *, kernel_size: int = 3, radix: int = 2, rd_ratio: float = 0.25) -> None:
        super().__init__(
            "splat",
            _multiple("split attention", dim, radix),
            kernel_size=_odd("split attention", kernel_size),
            radix=radix,
            rd_ratio=rd_ratio,
        )

    def attention(self, x: Tensor, at: Tensor) -> dict[str, Gates]:
        """How much of each channel is taken from each convolution."""
        shares = self._returned(self.attn.rsoftmax, x).flatten(1).unflatten(1, (self.attn.radix, -1))
        return {f"convolution {number}": Gates(channels=share) for number, share in enumerate(shares.unbind(1), 1)}


class Lambda(TimmLayer):
    """Applies to every pixel linear maps made of all pixels and of its neighbourhood (arXiv 2102.08602).

    Args:
        dim: Channels in and out, a multiple of `num_heads`.
        num_heads: Heads.
        dim_head: Channels of a query.
        r: Side of the neighbourhood, odd, 31 at most.
    """

    def __init__(self, dim: int, *, num_heads: int = 4, dim_head: int = 16, r: int = 9) -> None:
        if r > 31:
            raise ChannelError(f"lambda layers: a neighbourhood of r={r} pixels is beyond 31")
        super().__init__(
            "lambda",
            _multiple("lambda layers", dim, num_heads),
            num_heads=num_heads,
            dim_head=dim_head,
            r=_odd("lambda layers", r),
        )


def _odd(what: str, size: int) -> int:
    if size < 1 or size % 2 == 0:
        raise ChannelError(f"{what}: an even kernel would move the map by half a pixel; pass an odd size, got {size}")
    return size


def _multiple(what: str, dim: int, divisor: int) -> int:
    if divisor < 1 or dim % divisor:
        raise ChannelError(f"{what}: {dim} channels are no multiple of {divisor}")
    return dim
