"""The stock models, ungrafted: the controls that every comparison needs."""

from __future__ import annotations

from zoo.config import BASES, GraftConfig
from zoo.registry import register


def plain(scale: str) -> tuple[GraftConfig, ...]:
    """No graft."""
    return ()


for base in BASES:
    register(base)(plain)
