"""Pascal VOC: one XML file an image, splits as lists of image names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from reproduce.datasets.layout import Box, Sample, image_size
from zoo.errors import DataError


def read(folder: Path, split: str, names: list[str], inclusive: bool = True) -> Iterator[Sample]:
    """Read one list of one VOC folder; difficult objects are marked as ignored.

    Args:
        folder: Holds ``Annotations``, ``ImageSets/Main`` and ``JPEGImages``.
        split: Name of the list, e.g. ``trainval``.
        names: Class names in the order of their labels.
        inclusive: Corners are 1-based pixel indices, both inside the object, as in VOC itself; otherwise they are
            coordinates, as LabelImg writes them.

    Raises:
        DataError: An annotation or image is missing, unreadable, disagrees in size or holds an unknown class.
    """
    for line in (folder / "ImageSets" / "Main" / f"{split}.txt").read_text().splitlines():
        if not line.strip():
            continue
        path = folder / "Annotations" / f"{line.split()[0]}.xml"
        image = folder / "JPEGImages" / f"{line.split()[0]}.jpg"
        width, height = image_size(image)
        try:
            objects = ElementTree.parse(path).getroot().findall("object")
            boxes = [_box(element, names, inclusive) for element in objects]
        except (OSError, ElementTree.ParseError, ValueError) as error:
            raise DataError(f"{path}: {error}.") from error
        yield Sample(image, width, height, boxes)


def _box(element: ElementTree.Element, names: list[str], inclusive: bool) -> Box:
    name = element.findtext("name", "").strip()
    if name not in names:
        raise ValueError(f"class {name!r} is not one of {', '.join(names)}")
    left, top, right, bottom = (
        float(element.findtext(f"bndbox/{key}", "missing")) for key in ("xmin", "ymin", "xmax", "ymax")
    )
    if inclusive:
        left, top = left - 1, top - 1
    difficult = element.findtext("difficult", "0").strip() == "1"
    return Box(names.index(name), left, top, right - left, bottom - top, ignored=difficult)
