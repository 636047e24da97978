"""A picture from a file, a PIL image or an array, by one rule, and refused in words where it is none.

Whatever its depth, it becomes 8 bits a channel: of 16 bits the upper 8, of floating point [0, 1] or else [0, 255].
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps
from ultralytics.utils.patches import imread

from zoo.errors import DataError, one_line

_TIFF = {".tif", ".tiff"}
_HEIF = {".heic", ".heif"}
_NO_IMAGE = "it is no image that can be decoded"


def read(image: str | Path | Image.Image | np.ndarray, most_megapixels: float | None = None) -> np.ndarray:
    """The pixels, turned as the file's EXIF data say.

    Args:
        image: A file, a PIL image, or an array `(H, W)` or `(H, W, C)` of 1, 3 or 4 channels, in BGR as in Ultralytics.
        most_megapixels: Refuse larger files before they are decoded.

    Returns:
        RGB, uint8, `(H, W, 3)`.

    Raises:
        DataError: It cannot be read, is larger, or has values of no known range.
    """
    if isinstance(image, np.ndarray):
        name, pixels = "the array", lambda: eight_bits(image)
    elif isinstance(image, Image.Image):
        name, pixels = "the picture", lambda: _of_pillow(image)
    else:
        name, pixels = Path(image).name, lambda: of_file(image, most_megapixels)
    try:
        return np.ascontiguousarray(pixels()[..., ::-1])
    except DataError as error:
        raise DataError(f"{name}: {error}.") from error


def of_file(file: str | Path, most_megapixels: float | None = None) -> np.ndarray:
    """The pixels of a file: BGR, uint8, `(H, W, 3)`.

    Raises:
        DataError: As `read`; the message is the reason alone.
    """
    file = Path(file)
    if not file.is_file():
        raise DataError("there is no such file")
    if most_megapixels is not None:
        _check_header(file, most_megapixels)
    try:
        image = imread(file)
        if file.suffix.lower() in _TIFF and (image is None or image.dtype != np.uint8):
            content = np.fromfile(file, np.uint8)
            image = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if content.size else None
    except (cv2.error, ImportError, OSError, ValueError) as error:
        raise DataError(f"{_NO_IMAGE} ({one_line(error)})") from error
    if image is None:
        needs = ", and HEIC needs `pip install pi-heif`" if file.suffix.lower() in _HEIF else ""
        raise DataError(f"{_NO_IMAGE}{needs}")
    return eight_bits(image)


def eight_bits(image: np.ndarray) -> np.ndarray:
    """An array of any depth as BGR, uint8, `(H, W, 3)`; what has no colours gets three equal channels.

    Raises:
        DataError: It is no picture by its shape, or its values have no known range; the message is the reason alone.
    """
    planes = image[..., None] if image.ndim == 2 else image
    if planes.ndim != 3 or planes.shape[2] not in (1, 3, 4) or not planes.size or image.dtype.kind not in "buif":
        raise DataError(f"a picture is (H, W, 3) of numbers, found {image.dtype} of {image.shape}")
    if image.dtype == np.uint16:
        planes = (planes >> 8).astype(np.uint8)
    elif image.dtype != np.uint8:
        planes = planes.astype(np.float32)
        low, high = float(planes.min()), float(planes.max())
        if not (np.isfinite([low, high]).all() and low >= 0 and high <= 255):
            raise DataError(
                f"its values go from {low:g} to {high:g}; take 8 or 16 bits, or floats in [0, 1] or [0, 255]"
            )
        planes = (planes * (255 if high <= 1 else 1)).round().astype(np.uint8)
    if planes.shape[2] == 1:
        return cv2.cvtColor(planes, cv2.COLOR_GRAY2BGR)
    return planes if planes.shape[2] == 3 else np.ascontiguousarray(planes[..., :3])


def _of_pillow(image: Image.Image) -> np.ndarray:
    turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith(("I", "F")):
        return eight_bits(np.asarray(turned))
    return np.asarray(turned.convert("RGB"))[..., ::-1]


def _check_header(file: Path, most_megapixels: float) -> None:
    try:
        with Image.open(file) as header:
            width, height = header.size
    except Image.DecompressionBombError as error:
        raise DataError(f"it has more than {most_megapixels:g} megapixels") from error
    except (OSError, SyntaxError, ValueError, ImportError) as error:  # the last by Ultralytics' reader of HEIF
        raise DataError(f"{_NO_IMAGE}, or one whose size is not known before it is: save it as PNG or JPEG") from error
    if width * height > most_megapixels * 1e6:
        raise DataError(f"it has {width} x {height} pixels, more than {most_megapixels:g} megapixels")
