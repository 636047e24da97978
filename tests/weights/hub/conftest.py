"""A Hub and clients that know nothing but its address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zoo
from tests.weights.conftest import put as put
from tests.weights.conftest import randomized as randomized
from tests.weights.conftest import shelf as shelf
from tests.weights.hub.server import Hub

ROOT = Path(__file__).parents[3]


class ClientError(Exception):
    """What the zoo raised in the client; the first argument is its class."""


class Client:
    """`tests/hub/client.py` in a process of its own."""

    def __init__(self, home: Path, *, prefix: tuple[str, ...] = (), **environment: str) -> None:
        self.home = home
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING", "ZOO_"))}
        clean = {key: value for key, value in clean.items() if not key.lower().endswith("_proxy")}
        quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_ETAG_TIMEOUT": "3"}
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.weights.hub.client"],
            cwd=ROOT,
            env={**clean, **quiet, "HF_HOME": str(home), "YOLO_OFFLINE": "1", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if os.environ.get("CI") else None,
            text=True,
        )

    def send(self, call: str, *args: Any, **options: Any) -> None:
        print(json.dumps({"call": call, "args": args, "options": options}), file=self.process.stdin, flush=True)

    def receive(self) -> Any:
        answers = (line for line in self.process.stdout if line.startswith("{"))  # Ultralytics chats on stdout
        answer = json.loads(next(answers))
        if "error" in answer:
            assert answer["zoo"], f"not a ZooError: {answer}"
            raise ClientError(answer["error"], answer["message"])
        return answer["value"]

    def __call__(self, call: str, *args: Any, **options: Any) -> Any:
        self.send(call, *args, **options)
        return self.receive()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def hub_server() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def hub(hub_server) -> Hub:
    """The Hub, empty and well-behaved."""
    hub_server.commits.clear()
    hub_server.private.clear()
    hub_server.requests.clear()
    hub_server.fault = lambda handler: False
    return hub_server


@pytest.fixture(scope="session")
def _client(hub_server, tmp_path_factory) -> Iterator[Client]:
    client = Client(tmp_path_factory.mktemp("home"), HF_ENDPOINT=hub_server.endpoint)
    yield client
    client.close()


@pytest.fixture
def client(_client, shelf) -> Client:
    """A client with an empty cache, on the shelf."""
    _client("prepare", str(shelf), "")
    return _client


@pytest.fixture
def new_client(hub_server, tmp_path) -> Iterator[Any]:
    """Start further clients; each has its own empty cache unless `home` says otherwise."""
    started: list[Client] = []

    def start(**options: Any) -> Client:
        home = options.pop("home", tmp_path / f"home{len(started)}")
        started.append(Client(home, HF_ENDPOINT=hub_server.endpoint, **options))
        return started[-1]

    yield start
    for client in started:
        client.close()


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> dict[str, bytes]:
    """Files of a small model, as `zoo.save` writes them."""
    directory = zoo.save(randomized("yolov8n_a2", num_classes=2), tmp_path_factory.mktemp("saved"))
    return {file.name: file.read_bytes() for file in directory.iterdir()}
