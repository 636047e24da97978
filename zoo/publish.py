"""What goes to the Hugging Face Hub: model, config and card in one commit."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi
from huggingface_hub.utils import HFValidationError, validate_repo_id

from zoo.detector import GraftedDetectionModel
from zoo.errors import ManifestError, OptionError
from zoo.factory import create
from zoo.files import CONFIG_FILE, MODEL_FILE
from zoo.report import cards
from zoo.weights import find, manifest, saved
from zoo.weights.hub import explained


def push_to_hub(
    model: GraftedDetectionModel,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    message: str = "Upload a model of yolo-attention-zoo",
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

    Returns:
        The commit: `.commit_url` and `.oid`.

    Raises:
        OptionError: The repository's name is of no form that the Hub takes.
        HubError: The Hub refused or failed; nothing was published.
    """
    check_repo(repo_id)
    with tempfile.TemporaryDirectory() as folder:
        directory = saved.save(model, folder)
        card = cards.render_model(model.config, f"hf-hub:{repo_id}")
        return _commit(directory, card, repo_id, private, revision, token, message)


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
        saved.write_config(create(full_name, pretrained=True).config, directory)
        card = cards.render(full_name, repo_id)
        commit = _commit(directory, card, repo_id, private, None, token, f"Upload {full_name}")
    try:
        manifest.add_source(full_name, f"hf:{repo_id}@{commit.oid}")
        cards.write(full_name)
    except OSError as error:
        raise ManifestError(f"pushed as {commit.commit_url}, but {manifest.path()} was not updated: {error}") from error
    return commit


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
    files: dict[str, Path | bytes] = {name: directory / name for name in (MODEL_FILE, CONFIG_FILE)}
    files["README.md"] = card.encode()
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()]
    api = HfApi(token=token)
    with explained(f"push to {repo_id}"):
        api.create_repo(repo_id, private=private, exist_ok=True)
        return api.create_commit(repo_id, operations, commit_message=message, revision=revision)
