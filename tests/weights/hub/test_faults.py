"""Downloads that go wrong lose nothing, say what to do, and can be run again."""

from __future__ import annotations

import resource
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.weights.hub.conftest import randomized
from tests.weights.hub.server import Handler, Hub
from tests.weights.hub.test_hub import fails
from zoo.weights import manifest


@pytest.fixture
def weights_on_hub(hub: Hub, put) -> Path:
    """Weights that only the Hub has; returns where the checkout would have them."""
    file = put("yolov8n_a2.one", randomized("yolov8n_a2", num_classes=2))
    oid = hub.commit("org/zoo", {"model.safetensors": file.read_bytes()})
    manifest.add_source("yolov8n_a2.one", f"hf:org/zoo@{oid}")
    file.unlink()
    return file


def serve(hub: Hub, send) -> None:
    """Answer downloads of the weights by `send(handler, content)`."""
    (_, tree), *_ = hub.commits["org/zoo"]

    def fault(handler: Handler) -> bool:
        if handler.command == "GET" and handler.path.endswith("model.safetensors"):
            send(handler, tree["model.safetensors"])
            return True
        return False

    hub.fault = fault


def cut(handler: Handler, content: bytes) -> None:
    """Promise everything, send half, hang up."""
    handler.reply(200, content[: len(content) // 2], content_length=str(len(content)))
    handler.close_connection = True


def truncated(handler: Handler, content: bytes) -> None:
    """Send half as if it were everything."""
    handler.reply(200, content[: len(content) // 2])


def wrong(handler: Handler, content: bytes) -> None:
    """Send other bytes of the right size."""
    handler.reply(200, bytes(len(content)))


@pytest.mark.parametrize(
    ("send", "error", "words"),
    [
        (cut, "SourceError", "Run it again"),
        (truncated, "SourceError", "Run it again"),
        (wrong, "IntegrityError", "sha256"),
    ],
)
def test_a_bad_download_is_never_loaded_and_the_next_one_works(hub, client, weights_on_hub, send, error, words):
    serve(hub, send)
    kind, message = fails(client, "create", "yolov8n_a2", pretrained=True)
    assert kind == error and words in message
    if send is wrong:
        kept = Path(message.split("kept aside as ")[1].split()[0].rstrip("."))
        assert not any(kept.read_bytes())
    hub.fault = lambda handler: False
    assert client("create", "yolov8n_a2", pretrained=True)
    before = len(hub.requests)
    assert client("create", "yolov8n_a2", pretrained=True)
    assert len(hub.requests) == before, "a file of a pinned commit is asked for once"


def test_a_cache_that_rotted_is_set_aside_and_fetched_again(client, weights_on_hub):
    expected = client("create", "yolov8n_a2", pretrained=True)
    blob = Path(client("resolve", "yolov8n_a2")).resolve()
    blob.write_bytes(bytes(blob.stat().st_size))
    assert client("create", "yolov8n_a2", pretrained=True) == expected
    assert blob.with_name(f"{blob.name}.rejected").exists()


def test_two_processes_at_once_end_with_one_good_file(hub, client, new_client, shelf, weights_on_hub):
    other = new_client(home=client.home)
    other("use", str(shelf))

    def slowly(handler: Handler, content: bytes) -> None:
        handler.reply(200, content[:1000], content_length=str(len(content)))
        time.sleep(0.5)
        handler.wfile.write(content[1000:])

    serve(hub, slowly)
    for each in (client, other):
        each.send("resolve", "yolov8n_a2")
    first, second = client.receive(), other.receive()
    assert first == second
    assert [path.name for path in Path(first).resolve().parent.iterdir()] == [Path(first).resolve().name]


def test_killed_during_a_download_and_run_again(hub, client, new_client, shelf, weights_on_hub):
    victim = new_client(home=client.home)
    victim("use", str(shelf))
    reached = []

    def stall(handler: Handler, content: bytes) -> None:
        handler.reply(200, content[: len(content) // 2], content_length=str(len(content)))
        handler.wfile.flush()
        reached.append(True)
        time.sleep(30)

    serve(hub, stall)
    victim.send("resolve", "yolov8n_a2")
    deadline = time.monotonic() + 60
    while not reached and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    victim.process.send_signal(signal.SIGKILL)
    victim.process.wait()
    hub.fault = lambda handler: False
    assert client("create", "yolov8n_a2", pretrained=True)


def test_no_room_on_the_disk(client, new_client, shelf, weights_on_hub):
    small = new_client()
    small("use", str(shelf))
    resource.prlimit(small.process.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    kind, message = fails(small, "create", "yolov8n_a2", pretrained=True)
    assert kind == "SourceError" and "File too large" in message and "HF_HOME" in message
    assert client("create", "yolov8n_a2", pretrained=True)


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv to be an ordinary user")
def test_a_cache_that_cannot_be_written(new_client, tmp_path, shelf, weights_on_hub):
    home = tmp_path / "readonly"
    home.mkdir()
    home.chmod(0o555)
    ordinary = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
    client = new_client(home=home, prefix=ordinary)
    client("use", str(shelf))
    kind, message = fails(client, "create", "yolov8n_a2", pretrained=True)
    assert kind == "SourceError" and "Permission denied" in message and "HF_HOME" in message
