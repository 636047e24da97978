"""The zoo's own block for a case of the parity vectors, carrying the case's official parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from zoo.layers.a2 import DoubleAttention
from zoo.layers.dattn import DeformableAttention
from zoo.layers.halo import HaloAttention
from zoo.layers.hat import (
    HybridAttentionBlock,
    HybridAttentionBody,
    OverlappingCrossAttention,
    ResidualHybridGroup,
    WindowAttention,
)
from zoo.layers.upstream import convert

Hyper = dict[str, Any]
Params = dict[str, Tensor]


def dat(hyper: Hyper, params: Params) -> nn.Module:
    """`DAttentionBaseline` of LeapLabTHU/DAT."""
    position = None
    if hyper["use_pe"]:
        position = "dwc" if hyper["dwc_pe"] else "log_cpb" if hyper["log_cpb"] else "table"
    factor = hyper["offset_range_factor"]
    return DeformableAttention(
        hyper["n_heads"] * hyper["n_head_channels"],
        heads=hyper["n_heads"],
        groups=hyper["n_groups"],
        stride=hyper["stride"],
        kernel_size=hyper["ksize"],
        offset_range=factor / 2 if factor >= 0 else None,
        position=position,
        offsets=not hyper["no_off"],
        centered=False,
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
    return HaloAttention(
        hyper["dim"],
        heads=hyper["num_heads"],
        dim_head=params["q.weight"].shape[0] // hyper["num_heads"],
        block_size=hyper["block_size"],
        halo_size=hyper["halo_size"],
        out_dim=hyper.get("dim_out"),
        masked=False,
        project_out=False,
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


def hat_branches(hyper: Hyper, dim: int) -> dict[str, Any]:
    """What the hybrid blocks of HAT have in common."""
    return {
        "compress_ratio": hyper["compress_ratio"],
        "squeeze_channels": dim // hyper["squeeze_factor"],
        "conv_scale": hyper["conv_scale"],
        "mlp_ratio": hyper["mlp_ratio"],
    }


def hat_hab(hyper: Hyper, params: Params) -> nn.Module:
    """`HAB` of XPixelGroup/HAT, which shrinks its window to the map and then does not shift it."""
    dim, heads, window, shift = (hyper[key] for key in ("dim", "num_heads", "window_size", "shift_size"))
    smallest = min(hyper["H"], hyper["W"])
    if smallest <= window:
        window, shift = smallest, 0
    return Tokens(HybridAttentionBlock(dim, heads, window, shift_size=shift, **hat_branches(hyper, dim)), hyper)


def hat_ocab(hyper: Hyper, params: Params) -> nn.Module:
    """`OCAB` of XPixelGroup/HAT."""
    block = OverlappingCrossAttention(
        hyper["dim"],
        hyper["num_heads"],
        hyper["window_size"],
        overlap_ratio=hyper["overlap_ratio"],
        mlp_ratio=hyper["mlp_ratio"],
        mask_border=False,
    )
    return Tokens(block, hyper)


def as_small_as_official(block: nn.Module, hyper: Hyper) -> nn.Module:
    """The official code does not shift windows on maps that one of them spans in height or width."""
    if min(hyper["H"], hyper["W"]) <= hyper["window_size"]:
        for part in block.modules():
            if isinstance(part, WindowAttention):
                part.shift_size = 0
    return block


def hat_rhag(hyper: Hyper, params: Params) -> nn.Module:
    """`RHAG` of XPixelGroup/HAT."""
    group = ResidualHybridGroup(
        hyper["dim"],
        hyper["depth"],
        hyper["num_heads"],
        hyper["window_size"],
        overlap_ratio=hyper["overlap_ratio"],
        mask_border=False,
        **hat_branches(hyper, hyper["dim"]),
    )
    return Tokens(as_small_as_official(group, hyper), hyper)


def hat_body(hyper: Hyper, params: Params) -> nn.Module:
    """`HAT` of XPixelGroup/HAT between its input and its upsampler."""
    body = HybridAttentionBody(
        hyper["in_chans"],
        hyper["embed_dim"],
        hyper["depths"],
        hyper["num_heads"],
        hyper["window_size"],
        padding="reflect",
        overlap_ratio=hyper["overlap_ratio"],
        mask_border=False,
        **hat_branches(hyper, hyper["embed_dim"]),
    )
    return as_small_as_official(body, hyper)


def a2(hyper: Hyper, params: Params) -> nn.Module:
    """`DoubleAttentionLayer` of nguyenvo09/Double-Attention-Network."""
    return DoubleAttention(
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
