"""From a recipe's description of a data set and the user's copy of it to the one layout."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from reproduce.datasets import coco, digits, voc, yolo
from reproduce.datasets.layout import Sample, staged, write_split, write_yaml
from zoo.errors import DataError

logger = logging.getLogger(__name__)

LAYOUT_VERSION = 2
"""Part of every prepared folder's name, so that a change of the layout prepares anew."""


def prepare(
    spec: dict[str, Any], source: Path | None, cache: Path, limit: int | None = None, verify: bool = True
) -> Path:
    """Bring a data set into the one layout, unless that was done before, and return its ``data.yaml``.

    Args:
        spec: The ``dataset`` section of a recipe.
        source: The user's copy; ``None`` for a data set that is composed here. Nothing is written into it.
        cache: Holds one folder for each data set, source and limit.
        limit: Images to keep of each split, for a quick run; switches the verification off.
        verify: Compare counts and digests with those of the recipe.

    Raises:
        DataError: Files are missing (all are listed, with where to get them), or counts or digests differ from those
            of the recipe.
    """
    splits = present_splits(spec, source)
    identity = json.dumps(
        [LAYOUT_VERSION, spec, str(source and source.resolve()), limit, verify, splits], sort_keys=True
    )
    target = cache / f"{spec['name']}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
    if (target / "data.yaml").is_file():
        return target / "data.yaml"
    logger.info("preparing %s at %s", spec["name"], target)
    with staged(target) as root:
        names = class_names(spec, source)
        digests = {}
        for split in splits:
            count, digests[split] = write_split(root, split, names, islice(_read(spec, source, split, names), limit))
            if verify and limit is None:
                _verify(spec, split, count, digests[split])
        write_yaml(root, names, digests)
    return target / "data.yaml"


def present_splits(spec: dict[str, Any], source: Path | None) -> list[str]:
    """The splits of a recipe whose files are there; ``train`` and ``val`` must be, others are left out.

    Raises:
        DataError: A file of ``train`` or ``val`` is missing.
    """
    if spec["format"] == "digits":
        return list(digits.SPLITS)
    where = f"It is published at {spec['source']}; --data is {spec['root']}."
    if "archives" in spec:
        where += " --download fetches it there."
    if source is None:
        raise DataError(f"{spec['name']} needs --data. {where}")
    missing = {split: [p for p in _required(spec, split) if not (source / p).exists()] for split in spec["splits"]}
    absent = [str(path) for split in ("train", "val") for path in missing[split]]
    if absent:
        raise DataError(f"{source} lacks {', '.join(dict.fromkeys(absent))}. {where}")
    return [split for split, paths in missing.items() if not paths]


def class_names(spec: dict[str, Any], source: Path | None) -> list[str]:
    """Class names in the order of the labels, from the recipe or, for COCO, from the annotation file."""
    if spec["format"] == "digits":
        return digits.NAMES
    if spec["format"] == "coco":
        assert source is not None
        return coco.names(source / spec["splits"]["train"]["annotations"])
    return spec["names"]


def _required(spec: dict[str, Any], split: str) -> list[Path]:
    part = spec["splits"][split]
    if spec["format"] == "coco":
        return [Path(part["annotations"]), Path(part["images"])]
    if spec["format"] == "voc":
        return [Path(path) for entry in part for path in (_voc_list(entry), Path(entry).parent / "Annotations")]
    return [Path("images", part), Path("labels", part)]


def _voc_list(entry: str) -> Path:
    return Path(entry).parent / "ImageSets" / "Main" / f"{Path(entry).name}.txt"


def _read(spec: dict[str, Any], source: Path | None, split: str, names: list[str]) -> Iterator[Sample]:
    if source is None or spec["format"] == "digits":
        yield from digits.read(split)
        return
    part = spec["splits"][split]
    if spec["format"] == "coco":
        yield from coco.read(source / part["annotations"], source / part["images"])
    elif spec["format"] == "voc":
        for entry in part:
            folder = source / Path(entry).parent
            yield from voc.read(folder, Path(entry).name, names, inclusive=spec.get("inclusive_corners", True))
    else:
        yield from yolo.read(source, part)


def _verify(spec: dict[str, Any], split: str, count: int, digest: str) -> None:
    expected = spec.get("expected", {}).get(split, {})
    for what, found in (("images", count), ("sha256", digest)):
        if expected.get(what, found) != found:
            raise DataError(
                f"{spec['name']} {split}: {what} is {found}, the recipe was written for {expected[what]}. "
                "Complete the data set, or pass --unverified (never shipped) or --smoke."
            )
