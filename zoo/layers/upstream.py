"""Official weights in this package's blocks.

`convert` renames, joins and cuts the parameters of an official implementation into the state dict of a block of the
zoo. What cannot be used (a bias with no effect, rows of a table that no query reaches) is dropped, in each case
without changing the block's result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from zoo.errors import StateDictError
from zoo.layers.a2 import DoubleAttention
from zoo.layers.dattn import DeformableAttention
from zoo.layers.halo import HaloAttention
from zoo.layers.hat import (
    HybridAttentionBlock,
    HybridAttentionBody,
    OverlappingCrossAttention,
    ResidualHybridGroup,
)

State = Mapping[str, Tensor]


def _dattn(block: DeformableAttention, state: State) -> dict[str, Tensor]:
    """From `DAttentionBaseline` of LeapLabTHU/DAT; needs a block made with `centered=False`."""
    renamed = {}
    for name, tensor in state.items():
        if name == "proj_k.bias" and block.proj_k.bias is None:
            continue
        if name.startswith("conv_offset.") and block.conv_offset is None:
            continue
        name = name.replace("conv_offset.1.norm.", "conv_offset.1.")
        renamed[name.replace("rpe_table.", "rpe.")] = tensor
    return renamed


def _halo(block: HaloAttention, state: State) -> dict[str, Tensor]:
    """From `HaloAttention` of lucidrains/halonet-pytorch or `HaloAttn` of timm."""
    unused = 2 * block.halo_size
    if "to_kv.weight" in state:
        kv = state["to_kv.weight"].unflatten(0, (2, block.heads, -1)).transpose(0, 1).flatten(0, 2)
        return {
            "qkv.weight": torch.cat((state["to_q.weight"], kv)),
            "rel_height": state["rel_pos_emb.rel_height"][unused:],
            "rel_width": state["rel_pos_emb.rel_width"][unused:],
            "to_out.weight": state["to_out.weight"],
            "to_out.bias": state["to_out.bias"],
        }
    converted = {
        "qkv.weight": torch.cat((state["q.weight"], state["kv.weight"])).flatten(1),
        "rel_height": state["pos_embed.height_rel"][unused:],
        "rel_width": state["pos_embed.width_rel"][unused:],
    }
    if "q.bias" in state:
        converted["qkv.bias"] = torch.cat((state["q.bias"], state["kv.bias"]))
    return converted


def _hat(block: nn.Module, state: State) -> dict[str, Tensor]:
    """From `HAB`, `OCAB`, `RHAG` or `HAT` of XPixelGroup/HAT; what lies around the body of `HAT` is left out.

    The official table of `OCAB` is the natural one (rows in order of the offsets), rotated.
    """
    wanted = block.state_dict()
    renamed = {}
    for name, tensor in state.items():
        name = name.replace("residual_group.", "").replace("patch_embed.norm.", "norm_first.")
        if name not in wanted:
            continue
        owner = block.get_submodule(name.rpartition(".")[0])
        if isinstance(owner, OverlappingCrossAttention) and name.endswith("relative_position_bias_table"):
            overlap = 2 * owner.margin
            tensor = tensor.roll((overlap + owner.window_size - 2) * (overlap + 2 * owner.window_size), 0)
        renamed[name] = tensor
    return renamed


def _a2(block: DoubleAttention, state: State) -> dict[str, Tensor]:
    """From `DoubleAttentionLayer` of nguyenvo09/Double-Attention-Network."""
    return {name: tensor for name, tensor in state.items() if name != "convB.bias"}


CONVERTERS: dict[type[nn.Module], Callable[..., dict[str, Tensor]]] = {
    DeformableAttention: _dattn,
    HaloAttention: _halo,
    HybridAttentionBlock: _hat,
    OverlappingCrossAttention: _hat,
    ResidualHybridGroup: _hat,
    HybridAttentionBody: _hat,
    DoubleAttention: _a2,
}


def convert(block: nn.Module, state_dict: State) -> dict[str, Tensor]:
    """Give official parameters the names and layouts of `block`.

    Args:
        block: The block that will load the result; its settings say which rows and biases it has.
        state_dict: Parameters of one official block by their official names, without a prefix.

    Returns:
        What `block.load_state_dict` takes.

    Raises:
        StateDictError: There is no converter for this kind of block, or a parameter that it needs is missing.
    """
    converter = CONVERTERS.get(type(block))
    if converter is None:
        known = ", ".join(kind.__name__ for kind in CONVERTERS)
        raise StateDictError(f"no converter for {type(block).__name__}; there is one for each of {known}")
    try:
        return converter(block, state_dict)
    except KeyError as missing:
        raise StateDictError(
            f"not an official {type(block).__name__}: no parameter {missing}, found {', '.join(state_dict)}; remove "
            "any prefix such as 'layers.0.attn.' from the names"
        ) from None
