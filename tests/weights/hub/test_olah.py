"""Downloads from olah, a mirror of the Hub that other people wrote, serving a local git repository."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.weights.hub.conftest import Client
from tests.weights.hub.test_hub import fails

pytest.importorskip("olah")


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def olah(tmp_path):
    """Address of a mirror that serves `tmp_path/mirror`, with no way to the real Hub."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "olah.toml"
    config.write_text(
        f'[basic]\nhost = "127.0.0.1"\nport = {port}\nrepos-path = "{tmp_path / "cache"}"\n'
        f'mirrors-path = ["{tmp_path / "mirror"}"]\n[accessibility]\noffline = true\n'
    )
    command = [sys.executable, "-m", "olah.server", "-c", str(config)]
    server = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.2)
    yield f"http://127.0.0.1:{port}"
    server.kill()
    server.wait()


def test_a_model_in_a_mirror_loads_by_branch_and_by_commit(olah, tmp_path, saved):
    repository = tmp_path / "mirror" / "models" / "org" / "mine"
    repository.mkdir(parents=True)
    git(repository, "init", "-q", "-b", "main")
    for name, content in saved.items():
        (repository / name).write_bytes(content)
        git(repository, "add", name)
    git(repository, "commit", "-q", "-m", "A model")
    commit = git(repository, "rev-parse", "HEAD")
    for name, content in saved.items():
        (tmp_path / "local" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "local" / name).write_bytes(content)
    client = Client(tmp_path / "home", HF_ENDPOINT=olah)
    try:
        expected = client("create", f"local-dir:{tmp_path / 'local'}")
        assert client("create", f"hf-hub:org/mine@{commit}") == expected
        assert client("create", "hf-hub:org/mine") == expected
        assert fails(client, "create", "hf-hub:org/absent")[0] == "HubError"
    finally:
        client.close()
