"""Weights: from a name to a verified file, and from a file into a model, all tensors or none."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import zoo
from zoo import assets, manifest
from zoo.config import ModelConfig
from zoo.errors import (
    ConfigError,
    FormatError,
    HubError,
    IntegrityError,
    SourceError,
    StateDictError,
    WeightsError,
    ZooError,
)
from zoo.files import CONFIG_FILE, MODEL_FILE, read_json, replacing, sha256, write_text
from zoo.manifest import Entry

if TYPE_CHECKING:
    from zoo.detector import GraftedDetectionModel

_FLOATS = (torch.float16, torch.bfloat16, torch.float32)
_INTEGERS = (torch.int64, torch.int32)


def resolve(name: str) -> Path:
    """Find the file of some trained weights and verify it before anybody reads a tensor.

    Sources are tried in the manifest's order: `repo:` in the folder that `ZOO_WEIGHTS_DIR` names, then in the checkout
    or installed package; `hf:` in the Hugging Face cache, then on the Hub at the pinned commit.

    Args:
        name: `"<architecture>.<tag>"`, or `"<architecture>"` for its default tag.

    Raises:
        NoWeightsError: The architecture has no weights.
        UnknownTagError: It has none of this tag.
        IntegrityError: Files were found, all of them of another size or sha256 than the manifest's.
        SourceError: Nothing was found.
    """
    full_name, entry = manifest.find(name)
    failures: list[ZooError] = []
    for source in entry.sources:
        try:
            return _from_hub(source, entry) if source.startswith("hf:") else _from_folders(source, entry)
        except ZooError as failure:
            failures.append(failure)
    error = IntegrityError if any(isinstance(failure, IntegrityError) for failure in failures) else SourceError
    raise error(
        f"no usable file for {full_name}: {' '.join(map(str, failures))} "
        f"Weights on this machine: {', '.join(_local_names()) or 'none'}."
    ) from failures[0]


def chosen_folder() -> Path | None:
    """The folder that the user's `ZOO_WEIGHTS_DIR` names."""
    folder = os.environ.get("ZOO_WEIGHTS_DIR")
    return Path(folder) if folder else None


def write(
    tensors: Mapping[str, Tensor], path: Path, *, half: bool = True, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file, to a temporary name first and then renamed into place.

    Args:
        tensors: By state-dict key.
        path: Replaced when present; its folder is created when absent.
        half: Store floating point as fp16, except tensors with values beyond its range.
        metadata: Strings for the file's header.
    """
    stored = {key: (_halved(t) if half else t).detach().cpu().contiguous() for key, t in tensors.items()}
    with replacing(path) as temporary:
        save_file(stored, temporary, metadata={"format": "pt", **(metadata or {})})


def read(path: Path) -> dict[str, Tensor]:
    """Map a safetensors file into memory; pages are read from disk when a tensor is used.

    Raises:
        SourceError: There is no such file.
        FormatError: The file is truncated, lies about its sizes, or is something else.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise SourceError(f"cannot read weights {path}: {error.strerror}.") from error
    if start[:1] == b"\x80" or start[:2] == b"PK":
        raise FormatError(f"{path} is a pickle, not safetensors; it was not opened. Convert it with zoo.save.")
    header = int.from_bytes(start, "little")
    if len(start) < 8 or header > size - 8:
        raise FormatError(f"{path} is truncated or not safetensors: {size} bytes cannot hold a header of {header}.")
    try:
        return load_file(path)
    except Exception as error:  # whatever a parser of untrusted bytes may raise
        raise FormatError(f"{path} is not a readable safetensors file: {error}.") from error


def load_into(model: nn.Module, tensors: Mapping[str, Tensor], *, prefix: str = "") -> None:
    """Copy tensors into a model, in the model's dtype, if and only if every one fits.

    Args:
        model: Where the tensors go.
        tensors: All of the model's, or all of those that start with `prefix`.
        prefix: `"model."` for the stock layers alone.

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
    heads = [t.shape for key, t in tensors.items() if key.startswith("model.") and key.endswith(".cv3.0.2.weight")]
    if len(heads) != 1 or len(heads[0]) != 4:
        raise StateDictError(f"not a YOLOv8 or YOLO11 detector: no class head among {len(tensors)} tensors.")
    return heads[0][0], heads[0][1]


def save(model: GraftedDetectionModel, directory: str | Path) -> Path:
    """Write `model.safetensors` and `config.json`, what `zoo.create("local-dir:<directory>")` reads.

    Args:
        model: Any model that `zoo.create` returned or training left.
        directory: Created when absent.

    Returns:
        The directory.
    """
    directory = Path(directory)
    write(model.state_dict(), directory / MODEL_FILE)
    write_config(model.config, directory)
    return directory


def write_config(config: ModelConfig, directory: Path) -> None:
    """Write the `config.json` of the `model.safetensors` in a folder, which it pins by size and sha256."""
    data = {
        **config.to_dict(),
        "versions": {
            "yolo-attention-zoo": zoo.__version__,
            **{name: version(name) for name in ("torch", "ultralytics")},
        },
        "weights": {"sha256": sha256(directory / MODEL_FILE), "bytes": (directory / MODEL_FILE).stat().st_size},
    }
    write_text(directory / CONFIG_FILE, json.dumps(data, indent=2) + "\n")


def read_saved(directory: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Read what `save` wrote.

    Raises:
        ConfigError: `config.json` is missing or malformed.
        IntegrityError: `model.safetensors` is not the file that `config.json` describes.
        WeightsError: `model.safetensors` is missing or unreadable.
    """
    data = read_json(directory / CONFIG_FILE, ConfigError)
    config = ModelConfig.from_dict(data)
    if "weights" in data:
        described = data["weights"]
        if not isinstance(described, dict) or set(described) != {"sha256", "bytes"}:
            raise ConfigError(f"{directory / CONFIG_FILE}: weights must be an object of sha256 and bytes.")
        _verify(directory / MODEL_FILE, described["sha256"], described["bytes"])
    return config, read(directory / MODEL_FILE)


def _halved(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if torch.equal(half.isfinite(), tensor.isfinite()) else tensor


def _places(source: str) -> list[Path]:
    """Where the file of a `repo:` source may lie, first choice first."""
    file = Path(source.removeprefix("repo:"))
    chosen = chosen_folder()
    return ([chosen / file.name] if chosen else []) + [assets.root() / file]


def _local_names() -> list[str]:
    return [
        name
        for name, entry in manifest.entries().items()
        if any(path.is_file() for source in entry.sources if source.startswith("repo:") for path in _places(source))
    ]


def _from_folders(source: str, entry: Entry) -> Path:
    failures: list[WeightsError] = []
    for path in _places(source):
        try:
            return _verify(path, entry.sha256, entry.bytes)
        except WeightsError as failure:
            failures.append(failure)
    raise next((failure for failure in failures if isinstance(failure, IntegrityError)), failures[0])


def _from_hub(source: str, entry: Entry) -> Path:
    from zoo import hub  # weights in a checkout need no Hub client

    repo_id, _, commit = source.removeprefix("hf:").partition("@")
    rejected: IntegrityError | None = None
    for _ in range(2):  # a damaged cache heals by one more download
        try:
            path = hub.fetch(repo_id, commit, MODEL_FILE)
        except HubError as error:
            raise rejected or error from None
        try:
            return _verify(path, entry.sha256, entry.bytes)
        except IntegrityError as error:
            blob = path.resolve()
            kept = blob.with_name(f"{blob.name}.rejected")
            os.replace(blob, kept)
            path.unlink(missing_ok=True)
            rejected = IntegrityError(f"{error} From {repo_id} on the Hub, kept aside as {kept}.")
    assert rejected is not None
    raise rejected


def _verify(path: Path, digest: str, size: int) -> Path:
    try:
        found = path.stat().st_size
    except OSError as error:
        raise SourceError(f"no file at {path} ({error.strerror}).") from error
    if found != size:
        raise IntegrityError(f"{path} has {found} bytes, not {size}; it was not loaded.")
    if (actual := sha256(path)) != digest:
        raise IntegrityError(f"{path} has sha256 {actual}, not {digest}; it was not loaded.")
    return path
