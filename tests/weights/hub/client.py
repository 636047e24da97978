"""A process that uses the zoo against a Hub: one JSON request a line in, one JSON answer a line out.

It is another process because `huggingface_hub` reads `HF_ENDPOINT` and `HF_HOME` when it is imported.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import torch
from huggingface_hub import constants

import zoo
from zoo import assets, cli
from zoo.publish import hub as publishing
from zoo.publish import pull as pulling
from zoo.publish import repository
from zoo.weights import find, hub


def fingerprint(model: torch.nn.Module) -> list[float]:
    """The whole output for a fixed image, exact."""
    torch.manual_seed(0)
    with torch.inference_mode():
        return model(torch.rand(1, 3, 64, 96))[0].flatten().tolist()


def create(name: str, **options: object) -> list[float]:
    return fingerprint(zoo.create(name, **options))


def fetch(repo_id: str, revision: str, file: str) -> str:
    return str(hub.fetch(repo_id, revision, file))


def resolve(name: str) -> str:
    return str(find.resolve(name))


def push(name: str, repo_id: str, **options: object) -> str:
    return publishing.push(name, repo_id, **options).oid


def push_all(org: str) -> dict[str, str]:
    return {upload.name: commit for upload, commit in publishing.push_all(org)}


def plan(org: str) -> dict[str, str | None]:
    return {upload.name: upload.commit for upload in publishing.plan(org)}


def pull(folder: str, *names: str, **options: bool) -> list[str]:
    return [name for name, _ in pulling.pull(Path(folder), names, **options)]


def push_model(name: str, repo_id: str, **options: object) -> tuple[str, list[float]]:
    torch.manual_seed(1)
    model = zoo.create(name, num_classes=2)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half())
    return zoo.push_to_hub(model, repo_id, **options).oid, fingerprint(model)


def push_saved(folder: str, repo_id: str, **options: object) -> str:
    return zoo.push_to_hub(zoo.create(f"local-dir:{folder}"), repo_id, **options).oid


def command(*words: str) -> int:
    return cli.main(list(words))


def verify() -> list[str]:
    return [failure for verdict in repository.verify() for failure in verdict.failures]


def prepare(root: str, token: str) -> None:
    """Start anew: an empty cache, another installation, another token."""
    shutil.rmtree(constants.HF_HUB_CACHE, ignore_errors=True)
    os.environ["HF_TOKEN"] = token
    use(root)


def use(root: str) -> None:
    """Make another folder the installation."""
    assets.root = lambda: Path(root)


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = {"value": globals()[request["call"]](*request["args"], **request["options"])}
        except Exception as error:
            answer = {"error": type(error).__name__, "zoo": isinstance(error, zoo.ZooError), "message": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
