"""Files that were not written by us are read with suspicion; files that we write are never half there."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

MODEL_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
MAX_JSON_BYTES = 16 << 20

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it into place when the block ends well, delete it otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, all of it or nothing."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def read_json(path: Path, error: type[Exception]) -> Any:
    """Parse a JSON file that is not trusted.

    Raises:
        error: The file is absent, too large, not UTF-8, not JSON, nested too deep, repeats a key or holds NaN.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise error(f"{path} is larger than {MAX_JSON_BYTES >> 20} MiB; this is not a file of the zoo.")
        return json.loads(path.read_bytes(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except OSError as cause:
        raise error(f"cannot read {path}: {cause.strerror or cause}.") from cause
    except RecursionError as cause:
        raise error(f"{path} is nested too deep; this is not a file of the zoo.") from cause
    except ValueError as cause:
        if isinstance(cause, error):
            raise
        raise error(f"{path} is not valid JSON: {cause}.") from cause


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def is_sha256(text: Any) -> bool:
    """Whether something read from elsewhere is a sha256 as `sha256` writes it."""
    return isinstance(text, str) and bool(_SHA256.fullmatch(text))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"a key is repeated among {sorted({key for key, _ in pairs})}")
    return found


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")
