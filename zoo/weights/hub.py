"""What comes from the Hugging Face Hub, through `huggingface_hub`; `zoo.publish` is the way there.

Its own settings hold: `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_OFFLINE`, `HF_TOKEN` and what `hf auth login` stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import (
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
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

from zoo.errors import HubError
from zoo.files import CONFIG_FILE, MODEL_FILE


def fetch(repo_id: str, revision: str, file: str) -> Path:
    """One file of a repository, from the cache or the Hub.

    Raises:
        HubError: The repository, revision or file does not exist, is not yours to read, or did not arrive whole.
    """
    with explained(f"{file} of {repo_id}@{revision}"):
        return Path(hf_hub_download(repo_id, file, revision=revision))


def snapshot(repo_id: str, revision: str | None = None) -> Path:
    """A folder with the model and config of one commit of a repository, from the cache or the Hub.

    Args:
        repo_id: `"<org>/<repo>"`.
        revision: A branch, a tag or a commit; the default branch when omitted.

    Raises:
        HubError: As `fetch`.
    """
    wanted = [MODEL_FILE, CONFIG_FILE]
    spec = f"{repo_id}@{revision}" if revision else repo_id
    with explained(spec):
        folder = Path(snapshot_download(repo_id, revision=revision, allow_patterns=wanted))
    absent = [name for name in wanted if not (folder / name).is_file()]
    if absent:
        raise HubError(f"{spec} has no {' and no '.join(absent)}: it was not written by zoo.push_to_hub.")
    return folder


def commit_with(repo_id: str, file: str, digest: str) -> str | None:
    """The newest commit of a repository if its file there has this sha256; `None` if it has not, or does not exist.

    Raises:
        HubError: The Hub refused or failed otherwise.
    """
    with explained(f"{file} of {repo_id}"):
        try:
            found = get_hf_file_metadata(hf_hub_url(repo_id, file))
        except (RepositoryNotFoundError, EntryNotFoundError, RevisionNotFoundError):
            return None
    return found.commit_hash if found.etag == digest else None


@contextmanager
def explained(what: str) -> Iterator[None]:
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
