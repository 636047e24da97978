"""From the name of some trained weights to a verified file."""

from __future__ import annotations

import os
from pathlib import Path

from zoo import assets
from zoo.errors import HubError, IntegrityError, SourceError, ZooError
from zoo.files import MODEL_FILE, sha256
from zoo.weights import manifest
from zoo.weights.manifest import Entry


def resolve(name: str) -> Path:
    """Find the file of some trained weights and verify it before anybody reads a tensor.

    The folder that `ZOO_WEIGHTS_DIR` names comes first, then the manifest's sources in their order: `repo:` in the
    checkout or installed package; `hf:` in the Hugging Face cache, then on the Hub at the pinned commit.

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
    for place in [file_name(full_name), *entry.sources]:
        try:
            if place.startswith("hf:"):
                return _from_hub(place, entry)
            if path := _local(place):
                return verified(path, entry.sha256, entry.bytes)
        except ZooError as failure:
            failures.append(failure)
    error = IntegrityError if any(isinstance(failure, IntegrityError) for failure in failures) else SourceError
    raise error(
        f"no usable file for {full_name}: {' '.join(map(str, failures))} {_ways(full_name, entry)} "
        f"Weights on this machine: {', '.join(local_names()) or 'none'}."
    ) from failures[0]


def file_name(full_name: str) -> str:
    """Of some weights in the folder that `ZOO_WEIGHTS_DIR` names."""
    return f"{full_name}.safetensors"


def local_names() -> list[str]:
    """Weights whose file lies on this machine, in the order of the manifest."""
    return [
        name
        for name, entry in manifest.entries().items()
        if any(
            (path := _local(place)) and path.is_file()
            for place in (file_name(name), *entry.sources)
            if not place.startswith("hf:")
        )
    ]


def chosen_folder() -> Path | None:
    """The folder that the user's `ZOO_WEIGHTS_DIR` names."""
    folder = os.environ.get("ZOO_WEIGHTS_DIR")
    return Path(folder) if folder else None


def _local(place: str) -> Path | None:
    """Where the file of a `repo:` source lies, or one of the user's own folder; `None` if the user named no folder."""
    if place.startswith("repo:"):
        return assets.root() / place.removeprefix("repo:")
    folder = chosen_folder()
    return folder / place if folder else None


def _ways(full_name: str, entry: Entry) -> str:
    """How to come by weights that are not at hand."""
    pushed = [source.removeprefix("hf:").partition("@")[0] for source in entry.sources if source.startswith("hf:")]
    hub = f"zoo pull DIR {full_name} on a machine that reaches the Hub ({pushed[0]})" if pushed else ""
    ways = [
        "run from a checkout of the repository, whose weights/ holds every tag",
        f"set ZOO_WEIGHTS_DIR to a folder that holds {file_name(full_name)}",
        f"fill such a folder with: {hub}" if hub else "wait for its push to the Hub, which has not got it yet",
    ]
    return f"Ways to it: (1) {ways[0]}; (2) {ways[1]}; (3) {ways[2]}."


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
