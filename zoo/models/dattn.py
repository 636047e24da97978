"""YOLOv8 with deformable attention after SPPF (DAT, arXiv 2201.00520)."""

from __future__ import annotations

from zoo.config import GraftConfig
from zoo.registry import register

HEADS = {"n": 8, "s": 16, "m": 18, "l": 16, "x": 20}
GROUPS = {"n": 2, "s": 4, "m": 6, "l": 4, "x": 5}


@register("yolov8", "_dattn")
def yolov8_dattn(scale: str) -> tuple[GraftConfig, ...]:
    """Deformable attention over the P5 map, dense keys, heads of 32 channels.

    Budget: the four C x C projections are the cost, so the block keeps the map's full width; at stride 32 there are
    400 keys at 640 px, which makes the logits cheap. Measured overhead is in `results/models.csv`.
    """
    return (GraftConfig(9, "dattn", {"heads": HEADS[scale], "groups": GROUPS[scale]}),)


@register("yolo11", "_dattn")
@register("yolo26", "_dattn")
def dattn(scale: str) -> tuple[GraftConfig, ...]:
    """The same after SPPF and before the stock self-attention, heads and groups as the block chooses by channels."""
    return (GraftConfig("sppf", "dattn"),)
