"""Attention blocks, each `(B, C, H, W)` to `(B, C, H, W)`, that know nothing of YOLO."""

from __future__ import annotations

from torch import nn

from zoo.layers.a2 import DoubleAttention
from zoo.layers.dattn import DeformableAttention
from zoo.layers.graft import Graft
from zoo.layers.halo import HaloAttention
from zoo.layers.hat import HybridAttention
from zoo.layers.hat_stem import HybridAttentionStem

BLOCKS: dict[str, type[nn.Module]] = {
    "a2": DoubleAttention,
    "dattn": DeformableAttention,
    "halo": HaloAttention,
    "hat": HybridAttention,
    "hat_stem": HybridAttentionStem,
}

__all__ = [
    "BLOCKS",
    "DeformableAttention",
    "DoubleAttention",
    "Graft",
    "HaloAttention",
    "HybridAttention",
    "HybridAttentionStem",
]
