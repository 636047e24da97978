"""The zoo's own block for a case of the parity vectors, carrying the case's official parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from tests.layers.official import (
    OfficialDeformableAttention,
    OfficialDoubleAttention,
    TimmHaloAttention,
    convert,
    official_hat,
)
from zoo.layers.halo import HaloAttention
from zoo.layers.hat import (
    HybridAttentionBlock,
    HybridAttentionBody,
    HybridOptions,
    OverlappingCrossAttention,
    ResidualHybridGroup,
)

Hyper = dict[str, Any]
Params = dict[str, Tensor]


def dat(hyper: Hyper, params: Params) -> nn.Module:
    """`DAttentionBaseline` of LeapLabTHU/DAT."""
    position = None
    if hyper["use_pe"]:
        position = "dwc" if hyper["dwc_pe"] else "log_cpb" if hyper["log_cpb"] else "table"
    factor = hyper["offset_range_factor"]
    return OfficialDeformableAttention(
        hyper["n_heads"] * hyper["n_head_channels"],
        heads=hyper["n_heads"],
        groups=hyper["n_groups"],
        stride=hyper["stride"],
        kernel_size=hyper["ksize"],
        offset_range=factor / 2 if factor >= 0 else None,
        position=position,
        offsets=not hyper["no_off"],
        key_bias="proj_k.bias" in params,
        table_size=tuple(hyper["q_size"]) if position == "table" else None,
    )


def halo(hyper: Hyper, params: Params) -> nn.Module:
    """`HaloAttention` of lucidrains/halonet-pytorch with its mask corrected."""
    return HaloAttention(
        hyper["dim"],
        heads=hyper["heads"],
        dim_head=hyper["dim_head"],
        block_size=hyper["block_size"],
        halo_size=hyper["halo_size"],
    )


def halotimm(hyper: Hyper, params: Params) -> nn.Module:
    """`HaloAttn` of timm."""
    return TimmHaloAttention(
        hyper["dim"],
        heads=hyper["num_heads"],
        dim_head=params["q.weight"].shape[0] // hyper["num_heads"],
        block_size=hyper["block_size"],
        halo_size=hyper["halo_size"],
        out_dim=hyper.get("dim_out"),
        qkv_bias="q.bias" in params,
        scale_position=hyper.get("scale_pos_embed", False),
    )


class Tokens(nn.Module):
    """A block on maps, `(B, C, H, W)`, behind the official interface on tokens, `(B, H * W, C)`."""

    def __init__(self, block: nn.Module, hyper: Hyper) -> None:
        super().__init__()
        self.block = block
        self.size = (hyper["H"], hyper["W"])

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x.mT.unflatten(2, self.size)).flatten(2).mT


def hat_options(hyper: Hyper, dim: int) -> HybridOptions:
    """What the blocks of HAT have in common, as far as the case names it."""
    same = ("window_size", "compress_ratio", "conv_scale", "mlp_ratio", "overlap_ratio")
    options = {name: hyper[name] for name in same if name in hyper}
    if "squeeze_factor" in hyper:
        options["squeeze_channels"] = dim // hyper["squeeze_factor"]
    return HybridOptions(**options)


def hat_hab(hyper: Hyper, params: Params) -> nn.Module:
    """`HAB` of XPixelGroup/HAT, which shrinks its window to the map and then does not shift it."""
    options = hat_options(hyper, hyper["dim"])
    window = min(hyper["H"], hyper["W"], options.window_size)
    shift = hyper["shift_size"] if window == options.window_size else 0
    block = HybridAttentionBlock(hyper["dim"], hyper["num_heads"], replace(options, window_size=window), shift)
    return Tokens(official_hat(block, hyper["H"], hyper["W"]), hyper)


def hat_ocab(hyper: Hyper, params: Params) -> nn.Module:
    """`OCAB` of XPixelGroup/HAT."""
    block = OverlappingCrossAttention(hyper["dim"], hyper["num_heads"], hat_options(hyper, hyper["dim"]))
    return Tokens(official_hat(block, hyper["H"], hyper["W"]), hyper)


def hat_rhag(hyper: Hyper, params: Params) -> nn.Module:
    """`RHAG` of XPixelGroup/HAT."""
    options = hat_options(hyper, hyper["dim"])
    group = ResidualHybridGroup(hyper["dim"], hyper["depth"], hyper["num_heads"], options)
    return Tokens(official_hat(group, hyper["H"], hyper["W"]), hyper)


def hat_body(hyper: Hyper, params: Params) -> nn.Module:
    """`HAT` of XPixelGroup/HAT between its input and its upsampler."""
    options = hat_options(hyper, hyper["embed_dim"])
    body = HybridAttentionBody(hyper["in_chans"], hyper["embed_dim"], hyper["depths"], hyper["num_heads"], options)
    return official_hat(body, hyper["H"], hyper["W"])


def a2(hyper: Hyper, params: Params) -> nn.Module:
    """`DoubleAttentionLayer` of nguyenvo09/Double-Attention-Network."""
    return OfficialDoubleAttention(
        hyper["in_channels"],
        c_m=hyper["c_m"],
        c_n=hyper["c_n"],
        reconstruct=hyper["reconstruct"],
    )


MECHANISMS: dict[str, Callable[[Hyper, Params], nn.Module]] = {
    "a2": a2,
    "dat": dat,
    "halo": halo,
    "halotimm": halotimm,
    "hat_body": hat_body,
    "hat_hab": hat_hab,
    "hat_ocab": hat_ocab,
    "hat_rhag": hat_rhag,
}


def build(mechanism: str, meta: dict[str, Any], params: Params) -> nn.Module:
    """The block of `mechanism` in eval mode, with the input and output shapes of the case.

    Args:
        mechanism: Prefix of the case's name: one of `MECHANISMS`.
        meta: The case's metadata, or its `"hyper"` entry alone.
        params: Parameters by their official names; the block takes their dtype.
    """
    block = MECHANISMS[mechanism](meta.get("hyper", meta), params)
    core = getattr(block, "block", block)
    dtype = next(iter(params.values())).dtype
    block.to(dtype).eval()
    core.load_state_dict(convert(core, params))
    return block
