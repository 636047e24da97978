"""One rule for pictures, whoever reads them: `zoo predict`, `zoo explain`, the app, and from Python."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import zoo
from zoo import pictures
from zoo.app import answers
from zoo.errors import DataError
from zoo.predict.loader import Files

pytestmark = pytest.mark.fast

RAMP = np.linspace(0, 1, 40 * 60, dtype=np.float32).reshape(40, 60)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=2)
DEPTHS = {
    "f32": lambda x: x,
    "f64": lambda x: x.astype(np.float64),
    "f255": lambda x: x * 255,
    "u16": lambda x: (x * 65535).astype(np.uint16),
    "u8": lambda x: (x * 255).astype(np.uint8),
}


def by_predict(file: Path) -> np.ndarray:
    loader = Files([file], 1, 640)
    found = [image for _, images, _ in loader for image in images]
    if loader.broken:
        raise DataError(loader.broken[str(file)])
    return found[0][..., ::-1]


READERS = {"predict": by_predict, "explain": pictures.read, "app": answers.read}


def write(path: Path, image: np.ndarray) -> None:
    """Lossless: OpenCV before 5 writes colours of floats as logarithms unless told otherwise."""
    uncompressed = [cv2.IMWRITE_TIFF_COMPRESSION, 1] if path.suffix == ".tif" else []
    assert cv2.imwrite(str(path), image, uncompressed)


def colours_of(image: np.ndarray) -> np.ndarray:
    """What is to be seen, in RGB and [0, 255]."""
    return 255 * (image[..., ::-1] if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2))


@pytest.fixture(params=READERS)
def read(request):
    return READERS[request.param]


@pytest.mark.parametrize("image", [RAMP, COLOURS], ids=["gray", "colour"])
@pytest.mark.parametrize("name", ["f32.tif", "f64.tif", "f255.tif", "u16.tif", "u16.png", "u8.tif", "u8.png"])
def test_every_depth_becomes_the_same_picture(tmp_path, image, name, read):
    path = tmp_path / name
    write(path, DEPTHS[path.stem](image))
    unknown_to_pillow = name == "f64.tif" or (image is COLOURS and name in {"f32.tif", "f255.tif"})
    if read is answers.read and unknown_to_pillow:
        with pytest.raises(DataError, match="save it as PNG"):
            read(path)
        return
    found = read(path)
    assert found.dtype == np.uint8
    assert np.abs(found.astype(float) - colours_of(image)).max() <= 1.01


@pytest.mark.parametrize("image", [RAMP, COLOURS], ids=["gray", "colour"])
@pytest.mark.parametrize("depth", DEPTHS)
def test_arrays_of_every_depth(image, depth):
    found = pictures.read(DEPTHS[depth](image))
    assert found.dtype == np.uint8
    assert np.abs(found.astype(float) - colours_of(image)).max() <= 1.01


@pytest.mark.parametrize("depth", ["f32", "u16", "u8"])
def test_pillow_of_every_depth(depth):
    found = pictures.read(Image.fromarray(DEPTHS[depth](RAMP)))
    assert np.abs(found.astype(float) - colours_of(RAMP)).max() <= 1.01


def test_pillow_and_files_agree_on_colours_and_turns(tmp_path, read):
    image = Image.fromarray((COLOURS * 255).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    turned = np.asarray(image.transpose(Image.Transpose.ROTATE_270)).astype(float)
    for found in (read(tmp_path / "a.jpg"), pictures.read(Image.open(tmp_path / "a.jpg"))):
        assert found.shape == (60, 40, 3)
        assert np.abs(found - turned).max() <= 12


@pytest.mark.parametrize("values", [-RAMP, 1000 * RAMP, np.full((4, 4), np.nan, np.float32)], ids=["neg", "big", "nan"])
def test_floats_of_unknown_range_are_refused_with_it(tmp_path, values, read):
    write(tmp_path / "f.tif", values.astype(np.float32))
    for source in (lambda: read(tmp_path / "f.tif"), lambda: pictures.read(values)):
        with pytest.raises(DataError, match="its values go from"):
            source()


def png_of(width: int, height: int) -> bytes:
    """A file whose header promises so many pixels, and which has none."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", b"\xff\xd8\xff\xe0" + b"\0" * 100, b"\x89PNG no", png_of(100_000, 100_000)],
    ids=["empty", "text", "jpeg", "png", "bomb"],
)
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "heic"])
def test_what_is_no_image(tmp_path, content, suffix, read):
    (tmp_path / f"a.{suffix}").write_bytes(content)
    with pytest.raises(DataError, match=r"it is no image that can be decoded|megapixels"):
        read(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("shape", [(3,), (0, 4, 3), (4, 4, 2), (2, 4, 4, 3)], ids=str)
def test_arrays_of_other_shapes(shape):
    with pytest.raises(DataError, match=r"the array: a picture is \(H, W, 3\) of numbers"):
        pictures.read(np.zeros(shape, np.uint8))


def test_arrays_of_no_numbers():
    with pytest.raises(DataError, match="of numbers"):
        pictures.read(np.full((4, 4, 3), "a"))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 3)], ids=str)
def test_tiny_images(tmp_path, size, read):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((*size, 3), 7, np.uint8))
    assert np.array_equal(read(tmp_path / "a.png"), np.full((*size, 3), 7))


def test_a_float_tiff_is_explained_as_its_eight_bits_are(tmp_path):
    model = zoo.create("yolov8n_dattn.digits", pretrained=True)
    write(tmp_path / "a.tif", COLOURS)
    cv2.imwrite(str(tmp_path / "a.png"), (COLOURS * 255).round().astype(np.uint8))
    deep, flat = (zoo.attention(model, tmp_path / name, imgsz=64) for name in ("a.tif", "a.png"))
    assert np.array_equal(deep.picture, flat.picture)
    assert deep.looks[0].strength == flat.looks[0].strength
