"""From the name of some trained weights to a verified file."""

from __future__ import annotations

import os
from pathlib import Path

from zoo import assets
from zoo.errors import HubError, IntegrityError, SourceError, WeightsError, ZooError
from zoo.files import MODEL_FILE, sha256
from zoo.weights import manifest
from zoo.weights.manifest import Entry


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
            return verified(path, entry.sha256, entry.bytes)
        except WeightsError as failure:
            failures.append(failure)
    raise next((failure for failure in failures if isinstance(failure, IntegrityError)), failures[0])


def _from_hub(source: str, entry: Entry) -> Path:
    from zoo.weights import hub  # weights in a checkout need no Hub client

    repo_id, _, commit = source.removeprefix("hf:").partition("@")
    rejected: IntegrityError | None = None
    for _ in range(2):  # a damaged cache heals by one more download
        try:
            path = hub.fetch(repo_id, commit, MODEL_FILE)
        except HubError as error:
            raise rejected or error from None
        try:
            return verified(path, entry.sha256, entry.bytes)
        except IntegrityError as error:
            blob = path.resolve()
            kept = blob.with_name(f"{blob.name}.rejected")
            os.replace(blob, kept)
            path.unlink(missing_ok=True)
            rejected = IntegrityError(f"{error} From {repo_id} on the Hub, kept aside as {kept}.")
    assert rejected is not None
    raise rejected


def verified(path: Path, digest: str, size: int) -> Path:
    """The same path, once the file there has this sha256 and this many bytes.

    Raises:
        SourceError: There is no such file.
        IntegrityError: It is another file.
    """
    try:
        found = path.stat().st_size
    except OSError as error:
        raise SourceError(f"no file at {path} ({error.strerror}).") from error
    if found != size:
        raise IntegrityError(f"{path} has {found} bytes, not {size}; it was not loaded.")
    if (actual := sha256(path)) != digest:
        raise IntegrityError(f"{path} has sha256 {actual}, not {digest}; it was not loaded.")
    return path
