"""YOLO11 and YOLO26 with CBAM on the maps that the head reads (CBAM, arXiv 1807.06521)."""

from __future__ import annotations

from zoo.config import GraftConfig
from zoo.registry import register


@register("yolo11", "_cbam")
@register("yolo26", "_cbam")
def neck_cbam(scale: str) -> tuple[GraftConfig, ...]:
    """Channel attention, then spatial attention, on every map of the neck, which is where most people put it.

    Budget: two thin layers over pooled channels and one 7 x 7 filter a map. Overhead is in `results/models.csv`.
    """
    return tuple(GraftConfig(place, "cbam") for place in ("neck_p3", "neck_p4", "neck_p5"))
