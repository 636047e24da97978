"""What reads bytes from elsewhere: each target takes any bytes, and lets nothing but a `ZooError` happen to them.

What they read back they also write again, where there is a way, and it must be the same.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from zoo.config import ModelConfig
from zoo.errors import ConfigError, ZooError
from zoo.files import read_json
from zoo.names import parse
from zoo.report import runs
from zoo.weights import adapter, manifest, saved
from zoo.weights.tensors import load_into, read_tensors

_MEMORY = Path("/dev/shm")
_FOLDER = Path(tempfile.mkdtemp(prefix="fuzz", dir=_MEMORY if _MEMORY.is_dir() else None))
_MODEL = nn.ModuleDict({"model": nn.Linear(2, 2), "grafts": nn.Linear(2, 1)})
_BASE = {"model.weight": torch.ones(2, 2), "model.bias": torch.zeros(2)}
SEPARATOR = b"\n--tensors--\n"


def _written(name: str, content: bytes) -> Path:
    file = _FOLDER / name
    file.write_bytes(content)
    return file


def tensors(content: bytes) -> None:
    """A safetensors file, into a model if it reads."""
    with suppress(ZooError):
        load_into(_MODEL, read_tensors(_written("model.safetensors", content)))


def config(content: bytes) -> None:
    """A `config.json`."""
    with suppress(ZooError):
        made = ModelConfig.from_dict(read_json(_written("config.json", content), ConfigError))
        assert ModelConfig.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def entries(content: bytes) -> None:
    """A manifest."""
    with suppress(ZooError):
        for entry in manifest.entries(_written("weights_manifest.json", content)).values():
            assert manifest.Entry.from_dict(json.loads(json.dumps(entry.to_dict()))) == entry


def run(content: bytes) -> None:
    """A `run.json`."""
    with suppress(ZooError):
        runs.load(_written("run.json", content).parent)


def names(content: bytes) -> None:
    """A model's name."""
    with suppress(ZooError):
        name = parse(content.decode("utf-8", "surrogateescape"))
        assert parse(str(name)) == name


def adapters(content: bytes) -> None:
    """The two files of an adapter, over a small base."""
    text, _, weights = content.partition(SEPARATOR)
    _written("config.json", text)
    _written("model.safetensors", weights)
    with suppress(ZooError):
        found = saved.read_saved(_FOLDER)
        lent = adapter.lent(_MODEL, found.tensors, _BASE, found.base_tensors or "")
        load_into(_MODEL, {**lent, **found.tensors})


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (tensors, config, entries, run, names, adapters)
}
