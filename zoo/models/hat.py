"""YOLOv8 with hybrid attention (HAT, arXiv 2205.04437): on P5, on P3 to P5, or on the image."""

from __future__ import annotations

from zoo.config import GraftConfig, Option
from zoo.registry import register

P3, P4, P5 = 15, 18, 21

EMBED_P5 = {"n": 64, "s": 96, "m": 128, "l": 160, "x": 160}
EMBED_P4 = {"n": 48, "s": 64, "m": 96, "l": 128, "x": 128}
EMBED_P3 = {"n": 32, "s": 48, "m": 64, "l": 64, "x": 64}
EMBED_STEM = {"n": 32, "s": 48, "m": 64, "l": 64, "x": 64}


def _graft(position: int | str, embed_dim: int) -> GraftConfig:
    block = "hat_stem" if position == "stem" else "hat"
    options: dict[str, Option] = {"embed_dim": embed_dim, "depths": (2,), "heads": (embed_dim // 16,), "window_size": 8}
    return GraftConfig(position, block, options)


@register("yolov8", "_hat")
def yolov8_hat(scale: str) -> tuple[GraftConfig, ...]:
    """One residual hybrid group of two blocks on the P5 map that Detect reads.

    Budget: convolutions and linear layers are most of HAT, all quadratic in the embedding width, so the body works
    at a quarter of the map's channels. Measured overhead is in `results/models.csv`.
    """
    return (_graft(P5, EMBED_P5[scale]),)


@register("yolov8", "_hat_p345")
def yolov8_hat_p345(scale: str) -> tuple[GraftConfig, ...]:
    """The same group on P3, P4 and P5; each next downsampling reads the attended map.

    Budget: P3 has sixteen times the positions of P5, so its width is held to 64. This family costs more than the
    15 % of `_hat`; how much is in `results/models.csv`.
    """
    return (_graft(P3, EMBED_P3[scale]), _graft(P4, EMBED_P4[scale]), _graft(P5, EMBED_P5[scale]))


@register("yolov8", "_hat_stem")
def yolov8_hat_stem(scale: str) -> tuple[GraftConfig, ...]:
    """The same group on the image, folded 8 x 8 pixels into channels inside the block.

    Budget: at full resolution a window would hold 8 x 8 pixels and cost 64 times more; folded, it sees 64 x 64.
    How much it costs is in `results/models.csv`.
    """
    return (_graft("stem", EMBED_STEM[scale]),)
