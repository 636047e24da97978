"""Data sets in the layout Ultralytics trains on (``images/<split>``, ``labels/<split>``, ``data.yaml``), made once and atomically."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``target`` when the block ends well and vanishes when it does not.

    If another process finishes ``target`` first, its result stands and this one is dropped.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield staging
        staging.chmod(0o755)
        try:
            staging.rename(target)
        except OSError:
            if not (target / "data.yaml").is_file():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def link_image(source: Path, destination: Path) -> None:
    """Make ``source`` readable at ``destination``: a symbolic link, or a copy where links are not permitted."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(source.resolve(), destination)
    except OSError:
        shutil.copyfile(source, destination)


def write_labels(path: Path, rows: list[tuple[int, float, float, float, float]]) -> None:
    """Write one YOLO label file; each row is ``(class, x, y, w, h)``, centre and size as fractions of the image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{c} " + " ".join(f"{v:.6f}" for v in box) + "\n" for c, *box in rows))


def write_yaml(root: Path, names: list[str], splits: list[str], **extra: object) -> None:
    """Write ``data.yaml``; without a ``path`` key Ultralytics resolves the splits against the file's own folder."""
    content = {split: f"images/{split}" for split in splits} | {"names": dict(enumerate(names))} | extra
    (root / "data.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def labels_sha256(root: Path) -> str:
    """Digest of the names and contents of all label files below ``root``."""
    digest = hashlib.sha256()
    for path in sorted((root / "labels").rglob("*.txt")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
