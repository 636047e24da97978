"""Verbs of the Hugging Face Hub: push and pull."""

from __future__ import annotations

from pathlib import Path

from zoo.cli import table
from zoo.cli.arguments import Add, load
from zoo.errors import OptionError
from zoo.names import parse


def add_verbs(add: Add) -> None:
    """Add this module's verbs to the command line."""
    publishing = add(push)
    publishing.add_argument("name", metavar="NAME", nargs="?", help="ARCHITECTURE.TAG or local-dir:PATH")
    publishing.add_argument("repo_id", metavar="ORG/REPO", nargs="?", help="created when it does not exist")
    publishing.add_argument("--private", action="store_true", help="create it as a private repository")
    publishing.add_argument("--all", dest="org", metavar="ORG", help="show what publishing every tag would do")
    publishing.add_argument("--yes", action="store_true", help="with --all: do it")
    pulling = add(pull)
    pulling.add_argument("directory", metavar="DIR", type=Path, help="created when it does not exist")
    pulling.add_argument("names", metavar="NAME", nargs="*", help="ARCHITECTURE or ARCHITECTURE.TAG")
    pulling.add_argument("--all", dest="every", action="store_true", help="every tag")


def push(name: str | None, repo_id: str | None, private: bool, org: str | None, yes: bool) -> None:
    """Publish weights on the Hugging Face Hub.

    NAME is ARCHITECTURE.TAG, whose manifest entry then gains the new commit as a source, or local-dir:PATH, a whole
    model or an adapter. --all ORG lists every tag, its size and whether the Hub has it by hash; with --yes it sends
    what is missing, and the same command goes on after an interruption.
    """
    from zoo.publish import hub
    from zoo.weights import saved

    if org is not None:
        if name is not None:
            raise OptionError("--all ORG takes no NAME; leave one of them out.")
        _push_all(org, private, yes)
        return
    if name is None or repo_id is None:
        raise OptionError("push what, and where? zoo push NAME ORG/REPO, or zoo push --all ORG.")
    hub.check_repo(repo_id)
    if parse(name).kind == "local-dir" and saved.read_saved(parse(name).path).base_tensors:
        commit = hub.push_adapter(parse(name).path, repo_id, private=private)
    elif parse(name).kind == "local-dir":
        commit = hub.push_to_hub(load(name).model, repo_id, private=private, folder=parse(name).path)
    else:
        commit = hub.push(name, repo_id, private=private)
    print(commit.commit_url)


def _push_all(org: str, private: bool, yes: bool) -> None:
    from zoo.publish import hub

    if yes:
        for upload, commit in hub.push_all(org, private=private):
            print(f"{upload.name}: {upload.repo_id}@{commit}{' (was there)' if upload.commit else ''}", flush=True)
        return
    uploads = hub.plan(org)
    table.show(
        ["weights", "repository", "MB", "on the Hub"],
        [[u.name, u.repo_id, f"{u.bytes / 1e6:.1f}", u.commit or "no"] for u in uploads],
    )
    missing = [upload.bytes for upload in uploads if upload.commit is None]
    print(f"{len(missing)} of {len(uploads)} to send, {sum(missing) / 1e6:.1f} MB. Nothing was sent; --yes sends.")


def pull(directory: Path, names: list[str], every: bool) -> None:
    """Fill a folder with weights, for machines without a network.

    The default tag of each architecture, those named, or --all. ZOO_WEIGHTS_DIR=DIR uses the folder, and
    `zoo verify --dir DIR` checks it.
    """
    from zoo.publish.pull import pull as fill

    if every and names:
        raise OptionError("--all takes no NAME; leave one of them out.")
    for name, file in fill(directory, names, every=every):
        print(f"{name}: {file}", flush=True)
