"""Tensors: safetensors files written whole and read without trust, and into a model, all tensors or none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from zoo.errors import FormatError, SourceError, StateDictError
from zoo.files import replacing

_FLOATS = (torch.float16, torch.bfloat16, torch.float32)
_CLASS_HEAD = re.compile(r"model\.\d+\.(one2one_)?cv3\.0\.2\.weight")
_INTEGERS = (torch.int64, torch.int32)


def write_tensors(
    tensors: Mapping[str, Tensor], path: Path, *, half: bool = True, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file, to a temporary name first and then renamed into place.

    Args:
        tensors: By state-dict key.
        path: Replaced when present; its folder is created when absent.
        half: Store floating point as fp16, except tensors with values beyond its range.
        metadata: Strings for the file's header.
    """
    stored = {key: (halved(t) if half else t).detach().cpu().contiguous() for key, t in tensors.items()}
    with replacing(path) as temporary:
        save_file(stored, temporary, metadata={"format": "pt", **(metadata or {})})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Map a safetensors file into memory; pages are read from disk when a tensor is used.

    Raises:
        SourceError: There is no such file.
        FormatError: The file is truncated, lies about its sizes, or is something else.
    """
    try:
        if not is_safetensors(path):
            raise FormatError(_what_it_is_instead(path))
    except OSError as error:
        raise SourceError(f"cannot read weights {path}: {error.strerror}.") from error
    try:
        return load_file(path)
    except Exception as error:  # whatever a parser of untrusted bytes may raise
        raise FormatError(f"{path} is not a readable safetensors file: {error}.") from error


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors does: the length of its header in eight bytes, then a JSON object.

    The first byte alone says nothing: it is the low byte of that length, and may be a pickle's or an archive's too.
    """
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size - 8


def load_into(model: nn.Module, tensors: Mapping[str, Tensor], *, prefix: str | tuple[str, ...] = "") -> None:
    """Copy tensors into a model, in the model's dtype, if and only if every one fits.

    Args:
        model: Where the tensors go.
        tensors: All of the model's, or all of those that start with `prefix`.
        prefix: `"model."` for the stock layers alone; one of several.

    Raises:
        StateDictError: Tensors are missing, unexpected, of the wrong shape or kind, or not finite; nothing was loaded.
    """
    state = {key: tensor for key, tensor in model.state_dict().items() if key.startswith(prefix)}
    shared = sorted(state.keys() & tensors.keys())
    problems = {
        "missing": sorted(state.keys() - tensors.keys()),
        "unexpected": sorted(tensors.keys() - state.keys()),
        "wrong shape": [
            f"{key} {tuple(tensors[key].shape)} for {tuple(state[key].shape)}"
            for key in shared
            if tensors[key].shape != state[key].shape
        ],
        "wrong dtype": [
            f"{key} {tensors[key].dtype} for {state[key].dtype}"
            for key in shared
            if tensors[key].dtype not in (_FLOATS if state[key].is_floating_point() else _INTEGERS)
        ],
        "not finite": [key for key in shared if tensors[key].dtype in _FLOATS and not tensors[key].isfinite().all()],
    }
    found = "; ".join(f"{what}: {', '.join(keys)}" for what, keys in problems.items() if keys)
    if found:
        raise StateDictError(f"the tensors do not fit the model, nothing was loaded. {found}.")
    with torch.no_grad():
        for key, target in state.items():
            target.copy_(tensors[key])


def class_head(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Number of classes and hidden channels of the class branch of a detector's tensors.

    Raises:
        StateDictError: They have no class head where Ultralytics keeps it.
    """
    heads = [tensor.shape for key, tensor in tensors.items() if _CLASS_HEAD.fullmatch(key)]
    if not heads or len(heads[0]) != 4:
        raise StateDictError(f"not a YOLO that Ultralytics' head ends: no class head among {len(tensors)} tensors.")
    return heads[0][0], heads[0][1]


def _what_it_is_instead(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(4)
    if start[:1] == b"\x80" or start == b"PK\x03\x04":
        return f"{path} is a pickle, not safetensors; it was not opened. Convert it with zoo.save."
    return (
        f"{path} is truncated or not safetensors, which begins with the length of its header and that header: its "
        f"{path.stat().st_size} bytes begin with {start!r}. Take the file from its source again."
    )


def halved(tensor: Tensor) -> Tensor:
    """The tensor in fp16 if it is of floating point and none of its values is beyond that range, else as it is."""
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if torch.equal(half.isfinite(), tensor.isfinite()) else tensor
