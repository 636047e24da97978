"""The Hugging Face Hub, both ways, through `huggingface_hub`.

Its own settings hold: `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_OFFLINE`, `HF_TOKEN` and what `hf auth login` stored.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    HfApi,
    constants,
    hf_hub_download,
    scan_cache_dir,
    snapshot_download,
)
from huggingface_hub.errors import (
    CacheNotFound,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from zoo import cards, manifest, weights
from zoo.detector import GraftedDetectionModel
from zoo.errors import HubError, ManifestError


def fetch(repo_id: str, revision: str, file: str) -> Path:
    """One file of a repository, from the cache or the Hub.

    Raises:
        HubError: The repository, revision or file does not exist, is not yours to read, or did not arrive whole.
    """
    with _explained(f"{file} of {repo_id}@{revision}"):
        return Path(hf_hub_download(repo_id, file, revision=revision))


def snapshot(spec: str) -> Path:
    """A folder with the model and config of one commit of a repository, from the cache or the Hub.

    Args:
        spec: `"<org>/<repo>"` or `"<org>/<repo>@<revision>"`; a revision is a branch, a tag or a commit.

    Raises:
        HubError: As `fetch`.
    """
    repo_id, _, revision = spec.partition("@")
    wanted = [weights.MODEL_FILE, weights.CONFIG_FILE]
    with _explained(spec):
        folder = Path(snapshot_download(repo_id, revision=revision or None, allow_patterns=wanted))
    absent = [name for name in wanted if not (folder / name).is_file()]
    if absent:
        raise HubError(f"{spec} has no {' and no '.join(absent)}: it was not written by zoo.push_to_hub.")
    return folder


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
        HubError: The Hub refused or failed; nothing was published.
    """
    with tempfile.TemporaryDirectory() as folder:
        directory = weights.save(model, folder)
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
        HubError: The Hub refused or failed; the manifest is as it was.
        ManifestError: The push succeeded, but the manifest cannot be written.
        WeightsError: The weights cannot be found or verified.
    """
    from zoo.factory import create

    full_name, _ = manifest.find(name)
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        shutil.copyfile(weights.resolve(full_name), directory / weights.MODEL_FILE)
        weights.write_config(create(full_name, pretrained=True).config, directory)
        card = cards.render(full_name, repo_id)
        commit = _commit(directory, card, repo_id, private, None, token, f"Upload {full_name}")
    try:
        manifest.add_source(full_name, f"hf:{repo_id}@{commit.oid}")
        cards.write(full_name)
    except OSError as error:
        raise ManifestError(f"pushed as {commit.commit_url}, but {manifest.path()} was not updated: {error}") from error
    return commit


def _commit(
    directory: Path, card: str, repo_id: str, private: bool, revision: str | None, token: str | None, message: str
) -> CommitInfo:
    files: dict[str, Path | bytes] = {name: directory / name for name in (weights.MODEL_FILE, weights.CONFIG_FILE)}
    files["README.md"] = card.encode()
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=content) for name, content in files.items()]
    api = HfApi(token=token)
    with _explained(f"push to {repo_id}"):
        api.create_repo(repo_id, private=private, exist_ok=True)
        return api.create_commit(repo_id, operations, commit_message=message, revision=revision)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn what `huggingface_hub` raises into a `HubError` that says what to do next."""
    try:
        yield
    except (OSError, HTTPError, ValueError, KeyError) as error:
        raise HubError(f"{what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, LocalEntryNotFoundError):
        if isinstance(error.__cause__, HfHubHTTPError):
            return _reason(error.__cause__)
        offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} did not answer"
        return f"not in the cache {constants.HF_HUB_CACHE}, and {offline}. Models in the cache: {_cached() or 'none'}."
    if isinstance(error, GatedRepoError):
        return "access is gated; ask for it on the repository's page, then run `hf auth login`."
    if isinstance(error, RepositoryNotFoundError):
        return (
            "no such repository, or a private one that your token cannot read; check the name, set HF_TOKEN or run "
            "`hf auth login`."
        )
    if isinstance(error, RevisionNotFoundError):
        return "the repository has no such revision."
    if isinstance(error, EntryNotFoundError):
        return "the repository has no such file; was it written by zoo.push_to_hub?"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return f"the Hub answered {status}. {_ADVICE.get(status, 'Try again later.')}"
    if isinstance(error, HFValidationError):
        return str(error)
    if isinstance(error, ValueError | KeyError):
        return f"{constants.ENDPOINT} does not answer as a Hub does ({type(error).__name__}: {error})."
    return f"{error} Run it again, a download resumes; the cache is {constants.HF_HUB_CACHE} (HF_HOME moves it)."


_ADVICE = {
    401: "Set HF_TOKEN or run `hf auth login`.",
    403: "Your token does not allow this; a push needs write access.",
    429: "Too many requests; wait a minute.",
}


def _cached() -> str:
    try:
        return ", ".join(sorted(repo.repo_id for repo in scan_cache_dir().repos if repo.repo_type == "model"))
    except CacheNotFound:
        return ""
