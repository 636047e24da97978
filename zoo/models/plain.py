"""The stock models, ungrafted: the controls that every comparison needs."""

from __future__ import annotations

from zoo.config import GraftConfig
from zoo.registry import register


@register("yolov8")
@register("yolo11")
def plain(scale: str) -> tuple[GraftConfig, ...]:
    """No graft."""
    return ()
