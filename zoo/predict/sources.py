"""What the words after a model's name mean. Importing this module imports no torch."""

from __future__ import annotations

import csv
import glob
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zoo.errors import DataError, OptionError

IMAGES = frozenset(["avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp"])
VIDEOS = frozenset(["asf", "avi", "gif", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ts", "webm", "wmv"])
LISTS = frozenset({"txt", "csv"})
FORMS = "an image, a video, a folder, a 'glob*', a .txt or .csv list, a URL, a camera's number or 'screen'"


@dataclass
class Sources:
    """What was found.

    Attributes:
        files: Images and videos, each once, as the user spelt them.
        streams: Cameras, URLs, screens and `.streams` files, which end when the user says so.
        unusable: One line for each word, or entry of a list, that names nothing.
    """

    files: list[Path] = field(default_factory=list)
    streams: list[str] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)


def find(words: Sequence[str]) -> Sources:
    """Look every word up.

    Raises:
        DataError: Not one of them names anything; the message has the reason of each.
        OptionError: One of them is a setting.
    """
    found = Sources()
    for word in words:
        if re.fullmatch(r"\w+=.*", word) and not Path(word).exists():
            key, _, value = word.partition("=")
            raise OptionError(f"{word!r} is no source; settings are written --{key.replace('_', '-')} {value}.")
        _add(found, word, ())
    found.files = list(dict.fromkeys(found.files))
    if not found.files and not found.streams:
        raise DataError(f"{' '.join(found.unusable)} A source is {FORMS}.")
    return found


def is_video(path: Path) -> bool:
    """Whether a file is read frame by frame."""
    return _suffix(path) in VIDEOS


def _add(found: Sources, word: str, lists: tuple[Path, ...]) -> None:
    """Look one word up, which the last of some lists within lists holds."""
    if not word.strip():
        found.unusable.append("A source is empty.")
        return
    if _is_stream(word):
        found.streams.append(word)
        return
    path, beside = Path(word), lists[-1].parent if lists else None
    if beside and not path.exists() and (beside / path).exists():
        path = beside / path
    if path.is_dir():
        inside = sorted(entry for entry in path.iterdir() if _suffix(entry) in IMAGES | VIDEOS and entry.is_file())
        found.files += inside
        if not inside:
            found.unusable.append(f"There is no image and no video in the folder {word!r}.")
    elif not path.is_file():
        _add_glob(found, word, beside)
    elif _suffix(path) in LISTS:
        entries = _entries(path)
        if not entries:
            found.unusable.append(f"The list {word!r} is empty.")
        elif path.resolve() in {outer.resolve() for outer in lists}:
            found.unusable.append(f"The list {word!r} leads to itself.")
        else:
            for entry in entries:
                _add(found, entry, (*lists, path))
    elif _suffix(path) in IMAGES | VIDEOS:
        found.files.append(path)
    else:
        known = ", ".join(sorted(IMAGES | VIDEOS))
        found.unusable.append(f"{word!r} is no image and no video by its name, which ends in one of {known}.")


def _add_glob(found: Sources, word: str, beside: Path | None) -> None:
    matches: Iterable[str] = glob.glob(word, recursive=True) or (
        glob.glob(str(beside / word), recursive=True) if beside else []
    )
    files = [path for path in map(Path, sorted(matches)) if path.is_file() and _suffix(path) in IMAGES | VIDEOS]
    found.files += files
    if not files:
        is_pattern = glob.has_magic(word)
        found.unusable.append(
            f"No image and no video matches {word!r}." if is_pattern else f"There is no file {word!r}."
        )


def _is_stream(word: str) -> bool:
    if word.isdecimal() or word.lower().startswith(("http://", "https://", "rtsp://", "rtmp://", "tcp://")):
        return True
    exists = Path(word).exists()
    return exists if word.endswith(".streams") else bool(re.fullmatch(r"screen( \d+)*", word)) and not exists


def _entries(path: Path) -> list[str]:
    """The lines of a list; a column named `source` in a CSV file may have that header."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"the list {path} is not UTF-8 text: {error.reason} at byte {error.start}.") from error
    if _suffix(path) == "csv":
        lines = [cell for row in csv.reader(lines) for cell in row]
    entries = [line.strip() for line in lines if line.strip()]
    return entries[1:] if entries[:1] == ["source"] else entries


def _suffix(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")
