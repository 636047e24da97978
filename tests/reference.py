"""The zoo's own block for a case of the parity vectors, carrying the case's official parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from zoo.layers.dattn import DeformableAttention
from zoo.layers.halo import HaloAttention
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


MECHANISMS: dict[str, Callable[[Hyper, Params], nn.Module]] = {"dat": dat, "halo": halo, "halotimm": halotimm}


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
