"""Downloads of published archives: resumable, checked, unpacked once."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from huggingface_hub.file_download import http_get

from zoo.errors import DataError

logger = logging.getLogger(__name__)


def fetch(archives: Iterable[Mapping[str, str]], folder: Path) -> None:
    """Download and unpack archives below ``folder``; what is there already is neither fetched nor unpacked again.

    An interrupted download goes on where it stopped, also in another process.

    Args:
        archives: Each with ``url``, ``md5`` and ``into``, the folder below ``folder`` that it unpacks into.
        folder: Created when absent.

    Raises:
        DataError: The server does not answer, or an archive is not what its digest says; it is deleted then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        name = archive["url"].rpartition("/")[2]
        path, done = folder / name, folder / f".{name}.unpacked"
        if done.exists():
            continue
        if not path.exists():
            _download(archive["url"], path, archive["md5"])
        logger.info("unpacking %s", path)
        shutil.unpack_archive(path, folder / archive["into"])
        done.touch()


def _download(url: str, path: Path, md5: str) -> None:
    partial = path.with_name(f".{path.name}.part")
    if not (partial.exists() and _md5(partial) == md5):
        try:
            with partial.open("ab") as file:
                http_get(url, file, resume_size=file.tell(), displayed_filename=path.name)
        except OSError as error:
            raise DataError(
                f"{url} could not be fetched: {error} Run again to go on, or fetch it to {path}."
            ) from error
        if _md5(partial) != md5:
            partial.unlink()
            raise DataError(f"{url} is not the archive with md5 {md5}; it was deleted. Run again.")
    partial.rename(path)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
