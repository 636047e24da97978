"""What goes to the Hugging Face Hub: model, config and card in one commit."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi
from huggingface_hub.utils import HFValidationError, validate_repo_id

from zoo.detector import Grafted, build
from zoo.errors import ManifestError, OptionError
from zoo.factory import trained
from zoo.files import CONFIG_FILE, MODEL_FILE
from zoo.publish import pages
from zoo.report import cards
from zoo.weights import find, hub, manifest, saved
from zoo.weights.hub import explained


def push_to_hub(
    model: Grafted,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    message: str = "Upload a model of yolo-attention-zoo",
    adapter: bool | Literal["norm"] = False,
    folder: Path | None = None,
) -> CommitInfo:
    """Publish a model as `model.safetensors`, `config.json` and a card, in one commit.

    Pushing the same model twice makes no second commit.

    Args:
        model: Any model that `zoo.create` returned or training left.
        repo_id: `"<org>/<repo>"`; created when it does not exist.
        private: Create it private; an existing repository keeps what it is.
        revision: Branch to commit to, the default branch when omitted.
        token: A token to use instead of the stored one.
        message: First line of the commit.
        adapter: Leave the base out, as in `zoo.save`.
        folder: That the model was loaded from; if a training left it, its record makes the card, and its picture of
            predictions goes along.

    Returns:
        The commit: `.commit_url` and `.oid`.

    Raises:
        OptionError: The repository's name is of no form that the Hub takes.
        HubError: The Hub refused or failed; nothing was published.
    """
    check_repo(repo_id)
    with tempfile.TemporaryDirectory() as place:
        directory = saved.save(model, place, adapter=adapter)
        base_tensors = saved.read_saved(directory).base_tensors
        card = cards.render_folder(model.config, folder or directory, f"hf-hub:{repo_id}", base_tensors)
        if folder and (folder / cards.PICTURE).is_file():
            shutil.copyfile(folder / cards.PICTURE, directory / cards.PICTURE)
        return _commit(directory, card, repo_id, private, revision, token, message)


def push_adapter(folder: Path, repo_id: str, *, private: bool = False, token: str | None = None) -> CommitInfo:
    """Publish an adapter's folder as it lies, which takes no base, with a card.

    Args:
        folder: What `zoo.save` or a training over a frozen base wrote.
        repo_id: As in `push_to_hub`.
        private: As in `push_to_hub`.
        token: As in `push_to_hub`.

    Raises:
        OptionError: The repository's name is of no form that the Hub takes.
        HubError: The Hub refused or failed; nothing was published.
        WeightsError: The folder does not hold what its `config.json` says.
    """
    check_repo(repo_id)
    found = saved.read_saved(folder)
    card = cards.render_folder(found.config, folder, f"hf-hub:{repo_id}", found.base_tensors)
    return _commit(folder, card, repo_id, private, None, token, "Upload an adapter of yolo-attention-zoo")


def push(name: str, repo_id: str, *, private: bool = False, token: str | None = None) -> CommitInfo:
    """Publish trained weights of the zoo, and note the commit as a source in the manifest and on the card.

    Args:
        name: `"<architecture>.<tag>"`, or `"<architecture>"` for its default tag.
        repo_id: As in `push_to_hub`.
        private: As in `push_to_hub`.
        token: As in `push_to_hub`.

    Raises:
        OptionError: The repository's name is of no form that the Hub takes.
        HubError: The Hub refused or failed; the manifest is as it was.
        ManifestError: The push succeeded, but the manifest cannot be written.
        WeightsError: The weights cannot be found or verified.
    """
    check_repo(repo_id)
    full_name, _ = manifest.find(name)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        shutil.copyfile(find.resolve(full_name), directory / MODEL_FILE)
        found = trained(full_name)
        saved.write_config(build(found.config).config, directory, found.base_tensors)
        card = cards.render(full_name, repo_id)
        commit = _commit(directory, card, repo_id, private, None, token, f"Upload {full_name}")
    try:
        manifest.add_source(full_name, f"hf:{repo_id}@{commit.oid}")
        cards.write(full_name)
    except OSError as error:
        raise ManifestError(f"pushed as {commit.commit_url}, but {manifest.path()} was not updated: {error}") from error
    return commit


@dataclass(frozen=True)
class Upload:
    """One set of weights on its way to the Hub.

    Attributes:
        name: `"<architecture>.<tag>"`.
        repo_id: Where it goes.
        bytes: Size of the weights.
        commit: Where the Hub has exactly this file already, `None` where it has not.
    """

    name: str
    repo_id: str
    bytes: int
    commit: str | None


def plan(org: str) -> list[Upload]:
    """What `push_all` would do: every set of weights, and whether the Hub has it, by hash.

    Args:
        org: Owner of the repositories, one a set of weights, `<org>/<architecture>.<tag>`.

    Raises:
        OptionError: The owner's name is of no form that the Hub takes.
        HubError: The Hub refused or failed.
    """
    uploads = []
    for name, entry in manifest.entries().items():
        repo_id = f"{org}/{name}"
        check_repo(repo_id)
        uploads.append(Upload(name, repo_id, entry.bytes, hub.commit_with(repo_id, MODEL_FILE, entry.sha256)))
    return uploads


def push_all(org: str, *, private: bool = False, token: str | None = None) -> Iterator[tuple[Upload, str]]:
    """Publish every set of weights, and then one page a family that lists them.

    What the Hub has already, by hash, is not sent again, so the same call goes on after an interruption. Each commit is
    noted in the manifest before the next upload begins.

    Args:
        org: As in `plan`.
        private: As in `push_to_hub`.
        token: As in `push_to_hub`.

    Yields:
        Each set of weights with its commit, when it is there.

    Raises:
        HubError: The Hub refused or failed; what was published before is noted.
        ManifestError: The manifest cannot be written.
        WeightsError: Weights cannot be found or verified.
    """
    for upload in plan(org):
        commit = upload.commit
        if commit is None:
            commit = push(upload.name, upload.repo_id, private=private, token=token).oid
        else:
            manifest.add_source(upload.name, f"hf:{upload.repo_id}@{commit}")
        yield upload, commit
    for family, page in pages.families(org).items():
        _send(f"{org}/{family}", {"README.md": page.encode()}, private, None, token, f"The tags of {family}")


def check_repo(repo_id: str) -> None:
    """Look at a repository's name before anything is read or sent.

    Raises:
        OptionError: It is not `<org>/<repo>` in characters that the Hub takes.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise OptionError(f"the Hub has no repository {repo_id!r}: {error}") from error
    if "/" not in repo_id:
        raise OptionError(f"the repository {repo_id!r} lacks its owner; write ORG/REPO, e.g. your-name/{repo_id}.")


def _commit(
    directory: Path, card: str, repo_id: str, private: bool, revision: str | None, token: str | None, message: str
) -> CommitInfo:
    names = [name for name in (MODEL_FILE, CONFIG_FILE, cards.PICTURE) if (directory / name).is_file()]
    files: dict[str, Path | bytes] = {name: directory / name for name in names}
    return _send(repo_id, {**files, "README.md": card.encode()}, private, revision, token, message)


def _send(
    repo_id: str,
    files: Mapping[str, Path | bytes],
    private: bool,
    revision: str | None,
    token: str | None,
    message: str,
) -> CommitInfo:
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()]
    api = HfApi(token=token)
    with explained(f"push to {repo_id}"):
        api.create_repo(repo_id, private=private, exist_ok=True)
        return api.create_commit(repo_id, operations, commit_message=message, revision=revision)
