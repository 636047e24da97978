"""What `run.json` may hold; a file that holds anything else is refused by its name and the key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.errors import DataError

SCHEMA = 1
STATUSES = ("running", "ended", "cut", "failed")

# Tuples are types, [shape] a list, {str: shape} an object of any names, any other mapping an object of those names.
_TEXT, _NUMBER, _WHOLE = (str,), (int, float), (int,)
_MAYBE_TEXT, _MAYBE_NUMBER = (str, type(None)), (int, float, type(None))
_CLASS = {"mAP50-95": _MAYBE_NUMBER, "mAP50": _MAYBE_NUMBER}
_SCORES = {**_CLASS, **dict.fromkeys(("small", "medium", "large"), _MAYBE_NUMBER), "per_class": {str: _CLASS}}
_PARENT = {"source": _TEXT, "sha256": _TEXT, "kind": _TEXT}
_LATER = {"best"}  # keys that earlier records lack
_SHAPE: dict[str, Any] = {
    "schema": _WHOLE,
    "status": _TEXT,
    "error": _MAYBE_TEXT,
    "model": _TEXT,
    "base": _MAYBE_TEXT,
    "task": _TEXT,
    "grafts": [
        {
            "position": (int, str),
            "place": _MAYBE_TEXT,
            "block": _TEXT,
            "options": {str: (object,)},
            "parameters": _WHOLE,
        }
    ],
    "parameters": _WHOLE,
    "parameters_trained": _WHOLE,
    "gflops": _MAYBE_NUMBER,
    "parent": (object,),
    "data": {
        "name": _TEXT,
        "yaml": _TEXT,
        "fingerprint": _TEXT,
        "images": {str: _WHOLE},
        "class_names": [_TEXT],
    },
    "settings": {str: (object,)},
    "freeze_base": (bool, str),
    "seed": _WHOLE,
    "imgsz": _WHOLE,
    "width": _MAYBE_NUMBER,
    "epochs": {"planned": _WHOLE, "done": _WHOLE, "best": _WHOLE},
    "resumed": _WHOLE,
    "metrics": {str: _SCORES},
    "history": [
        {
            "epoch": _WHOLE,
            "mAP50-95": _MAYBE_NUMBER,
            "mAP50": _MAYBE_NUMBER,
            "loss": _MAYBE_NUMBER,
            "gates": {str: _MAYBE_NUMBER},
            "seconds": _NUMBER,
        }
    ],
    "gates": {str: _MAYBE_NUMBER},
    "images_per_second": _MAYBE_NUMBER,
    "seconds": _NUMBER,
    "machine": _TEXT,
    "versions": {str: _TEXT},
    "commit": _MAYBE_TEXT,
    "started": _TEXT,
    "ended": _MAYBE_TEXT,
}


def check(record: Any, file: Path) -> None:
    """Refuse what is no `run.json` of this version.

    Args:
        record: Parsed JSON of any type; it is not trusted.
        file: Where it lay.

    Raises:
        DataError: A key is missing or unknown, or a value is not of its kind.
    """
    if isinstance(record, Mapping) and record.get("schema") != SCHEMA:
        raise DataError(f"{file} has schema {record.get('schema')!r:.40}, not {SCHEMA}; update yolo-attention-zoo.")
    _check(record, _SHAPE, str(file))
    if record["parent"] is not None:
        _check(record["parent"], _PARENT, f"{file}: parent")
    if record["status"] not in STATUSES:
        raise DataError(f"{file}: status must be one of {', '.join(STATUSES)}, found {record['status']!r:.40}.")
    if not 0 <= record["epochs"]["done"] <= record["epochs"]["planned"]:
        raise DataError(f"{file}: {record['epochs']['done']} of {record['epochs']['planned']} epochs are done.")


def _check(value: Any, shape: Any, where: str) -> None:
    if isinstance(shape, tuple):
        if not isinstance(value, shape) or (isinstance(value, bool) and not {bool, object} & set(shape)):
            kinds = " or ".join("null" if kind is type(None) else kind.__name__ for kind in shape)
            raise DataError(f"{where} must be {kinds}, found {value!r:.60}.")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise DataError(f"{where} must be a list, found {value!r:.60}.")
        for number, item in enumerate(value):
            _check(item, shape[0], f"{where}[{number}]")
    elif not isinstance(value, Mapping):
        raise DataError(f"{where} must be an object, found {value!r:.60}.")
    elif str in shape:
        for key, item in value.items():
            _check(item, shape[str], f"{where}: {key}")
    else:
        wrong = [f"lacks {key}" for key in shape if key not in value and key not in _LATER]
        wrong += [f"has an unknown {key!r:.40}" for key in value if key not in shape]
        if wrong:
            raise DataError(f"{where} {'; '.join(wrong[:3])}.")
        for key, inner in value.items():
            _check(inner, shape[key], f"{where}: {key}")
