"""The one list of trained weights: `weights_manifest.json`. Nothing here imports torch.

An entry exists only if its file exists and was trained by its recipe. The file is data from elsewhere (a pull request,
a fork), so every field is validated before anything is done with it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from zoo import assets
from zoo.errors import ManifestError, NoWeightsError, UnknownTagError
from zoo.files import is_sha256, read_json, write_text
from zoo.names import parse

SCHEMA = 2
"""Of what is written; 2 added `base_tensors`, and manifests of schema 1 are read as before."""

FIRST_TAG = "coco"
"""The default of every architecture that has it."""

_NAME = re.compile(r"[a-z0-9_]{1,64}\.[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
_HF_SOURCE = re.compile(r"hf:[\w.-]{1,96}/[\w.-]{1,96}@[0-9a-f]{40}", re.ASCII)


@dataclass(frozen=True)
class Entry:
    """One set of trained weights.

    Attributes:
        sha256: Of the safetensors file, hexadecimal.
        bytes: Size of that file.
        sources: Where it can be had, tried in order: `"repo:weights/<file>.safetensors"`, relative to a checkout or
            the installed package, or `"hf:<org>/<repo>@<commit>"`, the `model.safetensors` there.
        num_classes: Width of the class logits.
        class_names: One name a class.
        imgsz: Training resolution, pixels of the longer side.
        dataset: Name of the training data, e.g. `"BCCD"`.
        license: SPDX identifier of the weights' licence.
        metrics: Per split, the metrics of this very file, e.g. `{"val": {"mAP50": 0.9, "mAP50-95": 0.6}}`.
        recipe: The command that trained it.
        commit: Commit of this repository that it was trained with.
        versions: Of the libraries it was trained with.
        known_answer: Output of the model for a fixed input, see `zoo.publish.repository.known_answer`.
        dataset_license: Licence of the training data.
        dataset_source: Where the training data can be had.
        started_from: The weights that training started from, empty where it started from random ones.
        base_tensors: For an adapter, the fingerprint of what its base lends it; empty for a whole model.
    """

    sha256: str
    bytes: int
    sources: tuple[str, ...]
    num_classes: int
    class_names: tuple[str, ...]
    imgsz: int
    dataset: str
    license: str
    metrics: Mapping[str, Mapping[str, float]]
    recipe: str
    commit: str
    versions: Mapping[str, str] = field(default_factory=dict)
    known_answer: tuple[float, ...] = ()
    dataset_license: str = ""
    dataset_source: str = ""
    started_from: str = ""
    base_tensors: str = ""

    def __post_init__(self) -> None:
        _check(is_sha256(self.sha256), "sha256", "64 hex digits", self.sha256)
        for key, high in (("bytes", 1 << 40), ("num_classes", 100_000), ("imgsz", 16_384)):
            value = getattr(self, key)
            _check(type(value) is int and 0 < value <= high, key, f"an integer from 1 to {high}", value)
        for key in ("dataset", "license", "recipe", "commit"):
            value = getattr(self, key)
            _check(isinstance(value, str) and value and value.isprintable(), key, "one line of text", value)
        for key in ("dataset_license", "dataset_source", "started_from"):
            value = getattr(self, key)
            _check(isinstance(value, str) and value.isprintable(), key, "one line of text", value)
        is_base = self.base_tensors == "" or is_sha256(self.base_tensors)
        _check(is_base, "base_tensors", "64 hex digits, or empty", self.base_tensors)
        object.__setattr__(self, "class_names", _strings("class_names", self.class_names))
        _check(len(self.class_names) == self.num_classes, "class_names", f"{self.num_classes} names", self.class_names)
        object.__setattr__(self, "sources", _strings("sources", self.sources))
        _check(bool(self.sources), "sources", "at least one source", self.sources)
        for source in self.sources:
            _check(_HF_SOURCE.fullmatch(source) or _is_repo_source(source), "sources", _SOURCE_FORMS, source)
        _check(isinstance(self.metrics, Mapping), "metrics", "an object of splits", self.metrics)
        metrics = {split: _numbers(f"metrics of {split!r}", values) for split, values in self.metrics.items()}
        object.__setattr__(self, "metrics", MappingProxyType(metrics))
        is_versions = isinstance(self.versions, Mapping) and all(
            isinstance(text, str) for pair in self.versions.items() for text in pair
        )
        _check(is_versions, "versions", "an object of strings", self.versions)
        object.__setattr__(self, "versions", MappingProxyType(dict(self.versions)))
        is_answer = isinstance(self.known_answer, list | tuple) and all(_is_number(v) for v in self.known_answer)
        _check(is_answer, "known_answer", "a list of finite numbers", self.known_answer)
        object.__setattr__(self, "known_answer", tuple(self.known_answer))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, the inverse of `from_dict`."""
        written = {item.name: _plain(getattr(self, item.name)) for item in fields(self)}
        return {key: value for key, value in written.items() if value or key not in {"started_from", "base_tensors"}}

    @classmethod
    def from_dict(cls, data: Any) -> Entry:
        """Read what `to_dict` wrote.

        Args:
            data: Parsed JSON, of any type: it is not trusted.

        Raises:
            ManifestError: A key is missing or unknown, or a value is not what the field allows.
        """
        if not isinstance(data, Mapping):
            raise ManifestError(f"a manifest entry is a JSON object, found {type(data).__name__}.")
        known = {item.name for item in fields(cls)}
        required = {item.name for item in fields(cls) if item.default is MISSING and item.default_factory is MISSING}
        wrong = {
            "unknown": set(data) - known,
            "missing": required - set(data),
        }
        if found := "; ".join(f"{what} {sorted(keys)}" for what, keys in wrong.items() if keys):
            raise ManifestError(f"manifest entry keys do not fit the schema: {found}.")
        return cls(**data)


def path() -> Path:
    """The manifest file of this checkout or installation."""
    return assets.root() / "weights_manifest.json"


def entries(file: Path | None = None) -> dict[str, Entry]:
    """Every set of weights by its `<architecture>.<tag>`, in the manifest's order.

    Args:
        file: Another manifest than this checkout's or installation's.

    Raises:
        ManifestError: The file is malformed; the message names the entry.
    """
    file = file or path()
    try:
        found = file.stat()
    except OSError as error:
        raise ManifestError(f"cannot read {file}: {error.strerror}.") from error
    return dict(_read(file, found.st_mtime_ns, found.st_size, found.st_ino))


@lru_cache(maxsize=4)
def _read(file: Path, *state: int) -> dict[str, Entry]:
    """The entries of a manifest whose file is in this state: read once, however often it is asked for."""
    data = read_json(file, ManifestError)
    if not isinstance(data, dict) or set(data) != {"schema", "weights"} or not isinstance(data["weights"], dict):
        raise ManifestError(f'{file} is not of the form {{"schema": {SCHEMA}, "weights": {{...}}}}.')
    if type(data["schema"]) is not int or not 1 <= data["schema"] <= SCHEMA:
        raise ManifestError(f"{file} has schema {data['schema']!r}, not 1 to {SCHEMA}; update yolo-attention-zoo.")
    found = {}
    for name, fields_ in data["weights"].items():
        check_name(name)
        try:
            found[name] = Entry.from_dict(fields_)
        except ManifestError as error:
            raise ManifestError(f"{file}, entry {name!r}: {error}") from error
    return found


def tags(architecture: str) -> tuple[str, ...]:
    """Tags of an architecture that has weights, its default first; empty when it has none."""
    own = [name for name in map(parse, entries()) if name.architecture == architecture]
    return tuple(name.tag for name in own if name.tag)


def find(name: str) -> tuple[str, Entry]:
    """The full name and the entry of some weights.

    Args:
        name: `"<architecture>.<tag>"`, or `"<architecture>"` for its default tag.

    Raises:
        NoWeightsError: The architecture has no weights; the message lists what has some.
        UnknownTagError: It has none of this tag; the message lists its tags.
    """
    wanted, known = parse(name), entries()
    own = tags(wanted.architecture)
    if not own:
        there = ", ".join(known) or "none yet"
        raise NoWeightsError(f"{wanted.architecture} has no trained weights. There are {there}.")
    tag = wanted.tag or own[0]
    if tag not in own:
        raise UnknownTagError(f"{wanted.architecture} has no weights tagged {tag!r}. Its tags: {', '.join(own)}.")
    full_name = f"{wanted.architecture}.{tag}"
    return full_name, known[full_name]


def check_name(name: Any) -> None:
    """Raise unless a name is of the form that entries and their files have.

    Raises:
        ManifestError: It is not `<architecture>.<tag>` in lower case.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ManifestError(f"weights are named '<architecture>.<tag>' in lower case, found {name!r}.")


def add(name: str, entry: Entry | Mapping[str, Any], file: Path | None = None) -> None:
    """Add an entry, or replace the one of the same name where it stands.

    Weights of COCO's everyday classes come first, so that they are an architecture's default. Safe with several
    processes; the manifest is never seen half-written.

    Raises:
        ManifestError: The name is not `<architecture>.<tag>`, or the entry or the file is malformed.
    """
    check_name(name)
    added = entry if isinstance(entry, Entry) else Entry.from_dict(entry)
    _change(name, lambda _: added, file or path())


def add_source(name: str, source: str) -> None:
    """Append a source to an entry that lacks it.

    Raises:
        ManifestError: There is no such entry, or the source is of no known form.
    """

    def add_to(entry: Entry | None) -> Entry:
        if entry is None:
            raise ManifestError(f"the manifest has no entry {name!r}.")
        return entry if source in entry.sources else replace(entry, sources=(*entry.sources, source))

    _change(name, add_to, path())


def _change(name: str, change: Callable[[Entry | None], Entry], file: Path) -> None:
    """Write what an entry becomes, of what it is once no other process writes."""
    from filelock import FileLock

    with FileLock(file.with_name(f".{file.name}.lock")):
        weights = entries(file) if file.exists() else {}
        weights[name] = change(weights.get(name))
        weights = dict(sorted(weights.items(), key=lambda item: not item[0].endswith(f".{FIRST_TAG}")))
        data = {"schema": SCHEMA, "weights": {key: value.to_dict() for key, value in weights.items()}}
        write_text(file, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


_SOURCE_FORMS = "'repo:weights/<file>.safetensors' or 'hf:<org>/<repo>@<40 hex digits>'"


def _is_repo_source(source: str) -> bool:
    file = PurePosixPath(source.removeprefix("repo:"))
    return (
        source == f"repo:weights/{file.name}"
        and file.suffix == ".safetensors"
        and source.isprintable()
        and not set(source.removeprefix("repo:")) & set('\\:*?"<>|')
    )


def _check(holds: Any, key: str, expected: str, found: Any) -> None:
    if not holds:
        raise ManifestError(f"{key} must be {expected}, found {found!r:.200}.")


def _strings(key: str, values: Any) -> tuple[str, ...]:
    is_strings = isinstance(values, list | tuple) and all(isinstance(value, str) for value in values)
    _check(is_strings, key, "a list of strings", values)
    return tuple(values)


def _numbers(key: str, values: Any) -> Mapping[str, float]:
    is_numbers = isinstance(values, Mapping) and all(_is_number(value) for value in values.values())
    _check(is_numbers, key, "an object of finite numbers", values)
    return MappingProxyType(dict(values))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e30 and math.isfinite(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
