"""YOLO12 with efficient channel attention on the maps that the head reads (ECA-Net, arXiv 1910.03151)."""

from __future__ import annotations

from zoo.config import GraftConfig
from zoo.registry import register


@register("yolo12", "_eca")
def yolo12_eca(scale: str) -> tuple[GraftConfig, ...]:
    """One short filter across the pooled channels of every map of the neck.

    Budget: a handful of parameters; YOLO12's backbone attends already, and its neck does not.
    """
    return tuple(GraftConfig(place, "eca") for place in ("neck_p3", "neck_p4", "neck_p5"))
