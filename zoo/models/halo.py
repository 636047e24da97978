"""YOLO11 and YOLO26 with halo attention before SPPF (HaloNet, arXiv 2103.12731)."""

from __future__ import annotations

from zoo.config import GraftConfig
from zoo.registry import register

HEADS = {"n": 4, "s": 8, "m": 8, "l": 8, "x": 12}


@register("yolo11", "_halo")
@register("yolo26", "_halo")
def halo(scale: str) -> tuple[GraftConfig, ...]:
    """Blocks of 4 x 4 queries that see 8 x 8 keys, heads of 32 channels, half the map's width inside.

    Budget: half the width halves the projections, and the block divides the 20 x 20 map of a 640 px image without
    padding. Measured overhead is in `results/models.csv`.
    """
    return (GraftConfig(8, "halo", {"heads": HEADS[scale], "dim_head": 32, "block_size": 4, "halo_size": 2}),)
