"""What a data set is, wherever it lies: one number of its images, labels and class names."""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from ultralytics.data.utils import IMG_FORMATS, img2label_paths

from zoo.files import read_json, sha256, write_text

SPLITS = ("train", "val", "test")
CACHED = 16


def of(data: Mapping[str, Any]) -> tuple[str, dict[str, int]]:
    """Fingerprint and size of a data set.

    Contents count, and neither file names, their order nor their place: a copy of a data set has its fingerprint. A
    missing label file counts as an empty one. The digest of a split is kept beside its label folder and holds until a
    size or a time of modification changes; 10,000 images then take 0.3 s.

    Args:
        data: As `zoo.engine.data.read` returns it; splits whose folders are missing do not count.

    Returns:
        A sha256 in hex, and the number of images by split.
    """
    digests, images = {}, {}
    for split in SPLITS:
        files = image_files(data.get(split) or [])
        if files:
            digests[split], images[split] = _digest(files), len(files)
    names = [data["names"][index] for index in sorted(data["names"])]
    return hashlib.sha256(json.dumps({"names": names, **digests}).encode()).hexdigest(), images


def image_files(places: str | Path | Sequence[str | Path]) -> list[str]:
    """Images of a split: of folders at any depth, and of text files with a path a line, as Ultralytics reads them.

    It passes over hidden files and folders.
    """
    found: list[str] = []
    for place in [places] if isinstance(places, str | Path) else places:
        path = Path(place)
        if path.is_dir():
            found += glob.glob(os.path.join(glob.escape(str(path)), "**", "*.*"), recursive=True)
        elif path.is_file():
            lines = path.read_text(encoding="utf-8-sig").strip().splitlines()
            found += [str(path.parent / line[2:]) if line.startswith("./") else line for line in lines]
    return sorted(file for file in found if file.rpartition(".")[-1].lower() in IMG_FORMATS)


def _digest(images: Sequence[str]) -> str:
    """Of the contents of images and labels, from the cache where no file has changed."""
    labels = img2label_paths(list(images))
    state = hashlib.sha256()
    for file in (*images, *labels):
        try:
            found = os.stat(file)
        except FileNotFoundError:
            continue
        state.update(f"{file} {found.st_size} {found.st_mtime_ns}\n".encode(errors="surrogateescape"))
    folder = Path(labels[0]).parent
    cache = folder.with_name(f"{folder.name}.fingerprint.json")
    known: dict[str, str] = {}
    with suppress(ValueError):
        found = read_json(cache, ValueError)
        known = found if isinstance(found, dict) else {}
    if state.hexdigest() not in known:
        with ThreadPoolExecutor(4) as pool:
            pairs = sorted(pool.map(_pair, images, labels))
        known[state.hexdigest()] = hashlib.sha256("\n".join(pairs).encode()).hexdigest()
        with suppress(OSError):  # a folder that cannot be written to: computed anew every time
            write_text(cache, json.dumps(dict(list(known.items())[-CACHED:]), indent=1))
    return str(known[state.hexdigest()])


def _pair(image: str, label: str) -> str:
    return f"{sha256(Path(image))} {sha256(Path(label)) if os.path.isfile(label) else hashlib.sha256().hexdigest()}"
