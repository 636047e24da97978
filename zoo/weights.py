"""Weights: from a name to a verified file, and from a file into a model, all tensors or none."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from zoo.errors import FormatError, StateDictError

if TYPE_CHECKING:
    from zoo.detector import GraftedDetectionModel


def write(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as fp16 safetensors, to a temporary name first and then renamed into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = {key: (t.half() if t.is_floating_point() else t).cpu().contiguous() for key, t in tensors.items()}
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        save_file(half, temporary, metadata={"format": "pt"})
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        FormatError: The file is truncated or something else.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise FormatError(f"{path} is not a readable safetensors file: {error}.") from error


def load_into(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into a model, in the model's dtype, if and only if every one fits.

    Raises:
        StateDictError: Tensors are missing, unexpected, of the wrong shape or not finite; nothing was loaded.
    """
    state = model.state_dict()
    missing = sorted(state.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - state.keys())
    shapes = [
        f"{key} {tuple(tensors[key].shape)} for {tuple(state[key].shape)}"
        for key in sorted(state.keys() & tensors.keys())
        if tensors[key].shape != state[key].shape
    ]
    bad = [key for key, t in tensors.items() if t.is_floating_point() and not torch.isfinite(t).all()]
    problems = {"missing": missing, "unexpected": unexpected, "wrong shape": shapes, "not finite": bad}
    found = "; ".join(f"{what}: {', '.join(keys)}" for what, keys in problems.items() if keys)
    if found:
        raise StateDictError(f"the tensors do not fit the model, nothing was loaded. {found}.")
    model.load_state_dict(dict(tensors))


def save(model: GraftedDetectionModel, directory: str | Path) -> Path:
    """Write `model.safetensors` and `config.json`, what `zoo.create("local-dir:<directory>")` reads.

    Args:
        model: Any model that `zoo.create` returned or training left.
        directory: Created when absent.

    Returns:
        The directory.
    """
    directory = Path(directory)
    write(model.state_dict(), directory / "model.safetensors")
    temporary = directory / ".config.json.tmp"
    temporary.write_text(json.dumps(model.config.to_dict(), indent=2) + "\n")
    os.replace(temporary, directory / "config.json")
    return directory
