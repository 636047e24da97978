"""YOLOv8 with double attention at the end of the P2 stage (A2-Nets, arXiv 1810.11579)."""

from __future__ import annotations

from zoo.config import GraftConfig
from zoo.registry import register

WIDTH = {"n": 16, "s": 32, "m": 48, "l": 64, "x": 80}


@register("yolov8", "_a2")
def yolov8_a2(scale: str) -> tuple[GraftConfig, ...]:
    """Gather and distribute through as many global descriptors as half the stage's channels.

    Budget: at stride 4 every channel costs 25,600 positions at 640 px, so features and attention maps both keep half
    the channels (the paper halves or quarters them). Measured overhead is in `results/models.csv`.
    """
    return (GraftConfig(2, "a2", {"c_m": WIDTH[scale], "c_n": WIDTH[scale]}),)
