"""A picture from a file, a PIL image or an array, refused in words where it is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from zoo.errors import DataError, one_line


def read(image: str | Path | Image.Image | np.ndarray, most_megapixels: float | None = None) -> np.ndarray:
    """The pixels, turned as the file's EXIF data say.

    Args:
        image: A file, a PIL image, or an array of uint8, `(H, W, 3)` in BGR as in Ultralytics.
        most_megapixels: Refuse larger ones before they are decoded.

    Returns:
        RGB, uint8, `(H, W, 3)`.

    Raises:
        DataError: It cannot be read, is larger, or has other than 8 bits a channel.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise DataError(f"an array must be uint8 of (H, W, 3) in BGR, found {image.dtype} of {image.shape}.")
        return np.ascontiguousarray(image[..., ::-1])
    name = "the picture" if isinstance(image, Image.Image) else Path(image).name
    try:
        opened = image if isinstance(image, Image.Image) else Image.open(image)
        if most_megapixels and opened.width * opened.height > most_megapixels * 1e6:
            raise DataError(
                f"{name} has {opened.width} x {opened.height} pixels, more than {most_megapixels:g} megapixels."
            )
        if opened.mode.startswith(("I", "F")):
            raise DataError(f"{name} has pixels of mode {opened.mode}, not 8 bits a channel; convert it first.")
        return np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    except FileNotFoundError as error:
        raise DataError(f"there is no file {image}.") from error
    except ImportError as error:  # Ultralytics takes what Pillow does not know for HEIF, and looks for its reader
        raise DataError(f"{name} is no image of a known format.") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{name} cannot be read as an image: {one_line(error)}.") from error
