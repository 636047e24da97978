"""The Hub both ways, with the real client over HTTP."""

from __future__ import annotations

import json
from functools import partial

import pytest

from tests.weights.hub.conftest import ClientError, randomized
from tests.weights.hub.server import Handler
from zoo.weights import manifest


def fails(client, *request, **options) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        client(*request, **options)
    return caught.value.args


def test_pushed_and_loaded_by_a_new_process_is_bit_equal(hub, client, new_client):
    oid, expected = client("push_model", "yolov8n_dattn", "org/mine")
    assert set(hub.commits["org/mine"][-1][1]) == {"model.safetensors", "config.json", "README.md"}
    other = new_client()
    assert other("create", "hf-hub:org/mine") == expected
    assert other("create", f"hf-hub:org/mine@{oid}") == expected
    assert client("push_model", "yolov8n_dattn", "org/mine") == [oid, expected]  # again: no second commit
    offline = new_client(home=other.home, HF_HUB_OFFLINE="1")
    before = len(hub.requests)
    assert offline("create", "hf-hub:org/mine") == expected
    kind, message = fails(offline, "create", "hf-hub:org/other")
    assert kind == "HubError" and "HF_HUB_OFFLINE is set" in message and "Models in the cache: org/mine" in message
    assert len(hub.requests) == before


def test_push_of_shipped_weights_adds_the_source_that_then_serves_them(hub, client, shelf, put):
    file = put("yolov8n_a2.one", randomized("yolov8n_a2", num_classes=2))
    client("prepare", str(shelf), "secret")
    expected = client("create", "yolov8n_a2", pretrained=True)
    oid = client("push", "yolov8n_a2.one", "org/zoo", private=True)
    assert client("push", "yolov8n_a2.one", "org/zoo", private=True) == oid
    assert "org/zoo" in hub.private
    repo_source, hub_source = manifest.entries()["yolov8n_a2.one"].sources
    assert (repo_source, hub_source) == ("repo:weights/yolov8n_a2.one.safetensors", f"hf:org/zoo@{oid}")
    assert hub.commits["org/zoo"][-1][1]["model.safetensors"] == file.read_bytes()
    assert client("verify") == []
    file.unlink()
    client("prepare", str(shelf), "")
    kind, message = fails(client, "create", "yolov8n_a2", pretrained=True)
    assert kind == "SourceError" and "HF_TOKEN" in message and "Weights on this machine: none" in message
    client("prepare", str(shelf), "secret")
    assert client("create", "yolov8n_a2", pretrained=True) == expected
    assert client("create", "hf-hub:org/zoo") == expected


def test_a_push_that_fails_changes_nothing(hub, client, put):
    put("yolov8n_a2.one", randomized("yolov8n_a2", num_classes=2))
    before = manifest.path().read_bytes()

    def refuse(handler: Handler, step: str) -> bool:
        if f"/{step}" in handler.path:
            handler.reply(403, b'{"error": "read only token"}')
            return True
        return False

    for step in ("create", "preupload", "commit"):
        hub.fault = partial(refuse, step=step)
        kind, message = fails(client, "push", "yolov8n_a2.one", "org/zoo")
        assert kind == "HubError" and "403" in message and "write access" in message
        assert manifest.path().read_bytes() == before
        assert not any(tree for _, tree in hub.commits.get("org/zoo", []))


def test_what_a_pull_says_when_it_is_not_there(hub, client, saved):
    hub.commit("org/mine", saved)
    hub.commit("org/bare", {"README.md": b"nothing here"})
    hub.commit("org/hidden", saved)
    hub.private.add("org/hidden")
    assert "no such repository" in fails(client, "create", "hf-hub:org/absent")[1]
    assert "HF_TOKEN" in fails(client, "create", "hf-hub:org/hidden")[1]
    assert "no such revision" in fails(client, "create", "hf-hub:org/mine@v9")[1]
    assert "not written by zoo.push_to_hub" in fails(client, "create", "hf-hub:org/bare")[1]
    assert "no such file" in fails(client, "fetch", "org/mine", "main", "absent.txt")[1]
    for malformed in ("hf-hub:a/b/c", "hf-hub:../../etc", "hf-hub:org/mine@../x"):
        assert fails(client, "create", malformed)[0] == "HubError"


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "HF_TOKEN"), (403, "does not allow"), (404, "no such"), (429, "wait a minute"), (500, "Try again later")],
)
def test_what_a_pull_says_when_the_hub_refuses(hub, client, saved, status, words):
    hub.commit("org/mine", saved)

    def refuse(handler: Handler) -> bool:
        handler.reply(status, error="RepoNotFound" if status == 404 else "")
        return True

    hub.fault = refuse
    kind, message = fails(client, "create", "hf-hub:org/mine")
    assert kind == "HubError" and words in message
    hub.fault = lambda handler: False
    assert client("create", "hf-hub:org/mine")


def test_a_repository_of_hostile_files_gives_zoo_errors_alone(hub, client, saved):
    config = json.loads(saved["config.json"])
    graft = config["grafts"][0]
    hostile = {
        "not json": b"\x80\x04.",
        "a list": b"[]",
        "unknown block": json.dumps({**config, "grafts": [{**graft, "block": "nonsense"}]}).encode(),
        "module path": json.dumps({**config, "grafts": [{**graft, "block": "os.system"}]}).encode(),
        "unknown option": json.dumps({**config, "grafts": [{**graft, "options": {"__class__": "os"}}]}).encode(),
        "huge": json.dumps({**config, "grafts": [{**graft, "options": {"c_m": 10**9, "c_n": 2}}]}).encode(),
    }
    for what, content in hostile.items():
        hub.commit(f"org/{what.replace(' ', '-')}", {**saved, "config.json": content})
        kind, message = fails(client, "create", f"hf-hub:org/{what.replace(' ', '-')}")
        assert kind in {"ConfigError", "UnknownBlockError"}, f"{what}: {message}"
