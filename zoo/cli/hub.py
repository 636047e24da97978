"""Verbs of the Hugging Face Hub: push."""

from __future__ import annotations

from zoo.cli.arguments import Add, load
from zoo.names import parse


def add_verbs(add: Add) -> None:
    """Add this module's verbs to the command line."""
    publishing = add(push)
    publishing.add_argument("name", metavar="NAME", help="ARCHITECTURE.TAG or local-dir:PATH")
    publishing.add_argument("repo_id", metavar="ORG/REPO", help="created when it does not exist")
    publishing.add_argument("--private", action="store_true", help="create it as a private repository")


def push(name: str, repo_id: str, private: bool) -> None:
    """Publish weights on the Hugging Face Hub.

    NAME is ARCHITECTURE.TAG, whose manifest entry then gains the new commit as a source, or local-dir:PATH.
    """
    from zoo import publish

    publish.check_repo(repo_id)
    if parse(name).kind == "local-dir":
        commit = publish.push_to_hub(load(name).model, repo_id, private=private)
    else:
        commit = publish.push(name, repo_id, private=private)
    print(commit.commit_url)
