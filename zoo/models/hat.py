"""Hybrid attention (HAT, arXiv 2205.04437): on P5 or P3 to P5 of the neck, in the backbone, or on the image."""

from __future__ import annotations

from zoo.config import GraftConfig, Option
from zoo.registry import register

P3, P4, P5 = 15, 18, 21

WIDTH = {"n": 64, "s": 96, "m": 128, "l": 160, "x": 160}
WIDTH_P345 = {"n": (32, 32, 48), "s": (48, 48, 64), "m": (64, 64, 96), "l": (64, 96, 128), "x": (64, 96, 128)}
WIDTH_BACKBONE = {"n": (32, 48, 48), "s": (48, 64, 64), "m": (48, 80, 80), "l": (64, 96, 96), "x": (64, 96, 96)}
WIDTH_IMAGE = {"n": 16, "s": 32, "m": 48, "l": 64, "x": 64}


def _graft(position: int | str, width: int, depth: int, fold: int = 1) -> GraftConfig:
    options: dict[str, Option] = {"embed_dim": width, "depths": (depth,), "heads": (width // 16,), "window_size": 8}
    return GraftConfig(position, "hat", options if fold == 1 else options | {"fold": fold})


@register("yolov8", "_hat")
def yolov8_hat(scale: str) -> tuple[GraftConfig, ...]:
    """One residual hybrid group of two blocks on the P5 map that Detect reads.

    Budget: convolutions and linear layers are most of HAT, all quadratic in the embedding width, so the body works
    at a quarter of the map's channels. Measured overhead is in `results/models.csv`.
    """
    return (_graft(P5, WIDTH[scale], 2),)


@register("yolov8", "_hat_p345")
def yolov8_hat_p345(scale: str) -> tuple[GraftConfig, ...]:
    """A residual hybrid group of one block on each of P3, P4 and P5; each next downsampling reads the attended map.

    Budget: three bodies in the time of two. Most of a small body's time is not arithmetic but its many operations,
    so each has one hybrid block, and the overlapping block alone joins the windows; P3 and P4 are folded to the 20 x
    20 positions that P5 has at 640 px. Measured overhead is in `results/models.csv`.
    """
    return tuple(
        _graft(position, width, 1, fold)
        for position, width, fold in zip((P3, P4, P5), WIDTH_P345[scale], (4, 2, 1), strict=True)
    )


@register("yolov8", "_hat_stem")
def yolov8_hat_stem(scale: str) -> tuple[GraftConfig, ...]:
    """A residual hybrid group of one block on the image, folded 16 x 16 pixels into channels inside the block.

    Budget: at full resolution a window would hold 8 x 8 pixels; folded, it sees 128 x 128, and what remains is the
    price of touching every pixel at all. Measured overhead is in `results/models.csv`.
    """
    return (_graft("stem", WIDTH_IMAGE[scale], 1, 16),)


@register("yolov8", "_hat_backbone")
@register("yolo11", "_hat_backbone")
def hat_backbone(scale: str) -> tuple[GraftConfig, ...]:
    """A residual hybrid group of two blocks on each of P3, P4 and P5 of the backbone, which neck and head both read.

    Meant for `freeze_base=True`. Budget: with the head under 40 % of the parameters of `yolov8n`, so P5 has the width
    of P4. Measured overhead is in `results/models.csv`.
    """
    return tuple(
        GraftConfig(place, "hat", {"embed_dim": width})
        for place, width in zip(("p3", "p4", "p5"), WIDTH_BACKBONE[scale], strict=True)
    )
