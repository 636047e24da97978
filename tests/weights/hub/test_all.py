"""Everything at once: push --all with a crash in the middle, and folders for machines without a network."""

from __future__ import annotations

import pytest

from tests.weights.conftest import randomized
from tests.weights.hub.conftest import ClientError
from tests.weights.hub.server import Handler
from zoo.cli import main
from zoo.weights import manifest

NAMES = ["yolov8n.one", "yolov8n_a2.one", "yolov8n_a2.two"]


@pytest.fixture
def three(put) -> None:
    for number, name in enumerate(NAMES):
        put(name, randomized(name.partition(".")[0], num_classes=2 + number))


def uploads(hub) -> list[str]:
    return [path.split("/")[4] for method, path in hub.requests if method == "POST" and "/commit/" in path]


def test_push_all_goes_on_where_the_hub_broke_off_and_sends_nothing_twice(hub, client, new_client, shelf, three):
    client("prepare", str(shelf), "")
    assert client("plan", "org") == dict.fromkeys(NAMES)
    assert uploads(hub) == []

    def break_off(handler: Handler) -> bool:
        if "/commit/" in handler.path and NAMES[1] in handler.path:
            handler.reply(500)
            return True
        return False

    hub.fault = break_off
    with pytest.raises(ClientError, match="HubError"):
        client("push_all", "org")
    hub.fault = lambda handler: False
    (first,) = [source for source in manifest.entries()[NAMES[0]].sources if source.startswith("hf:")]
    hub.requests.clear()

    restarted = new_client()
    restarted("use", str(shelf))
    sent = restarted("push_all", "org")
    assert list(sent) == NAMES and first == f"hf:org/{NAMES[0]}@{sent[NAMES[0]]}"
    assert uploads(hub) == [NAMES[1], NAMES[2], "yolov8", "yolov8_a2"]
    for name, entry in manifest.entries().items():
        assert entry.sources == (f"repo:weights/{name}.safetensors", f"hf:org/{name}@{sent[name]}")
        assert hub.commits[f"org/{name}"][-1][1]["model.safetensors"] == (shelf / entry.sources[0][5:]).read_bytes()
    page = hub.commits["org/yolov8_a2"][-1][1]["README.md"].decode()
    assert all(f"org/{name})" in page for name in NAMES[1:]) and "mAP50 0.500" in page

    hub.requests.clear()
    assert restarted("push_all", "org") == sent == restarted("plan", "org")
    assert uploads(hub) == []


def test_a_changed_file_is_sent_again(hub, client, shelf, three, put):
    client("prepare", str(shelf), "")
    before = client("push_all", "org")
    put(NAMES[0], randomized("yolov8n", num_classes=5))
    assert client("plan", "org") == {**before, NAMES[0]: None}
    assert client("push_all", "org")[NAMES[0]] != before[NAMES[0]]


def test_without_its_hash_on_the_hub_a_loss_of_the_manifests_note_is_mended(hub, client, shelf, three):
    client("prepare", str(shelf), "")
    before, text = (shelf / "weights_manifest.json").read_text(), client("push_all", "org")
    noted = (shelf / "weights_manifest.json").read_text()
    (shelf / "weights_manifest.json").write_text(before)
    assert client("push_all", "org") == text
    assert (shelf / "weights_manifest.json").read_text() == noted


def test_pull_fills_a_folder_that_serves_a_machine_without_a_network(
    hub, client, new_client, shelf, three, tmp_path, monkeypatch
):
    client("prepare", str(shelf), "")
    client("push_all", "org")
    expected = {name: client("create", name, pretrained=True) for name in NAMES}
    for name in NAMES:
        (shelf / "weights" / f"{name}.safetensors").unlink()
    folder = tmp_path / "carried"
    assert client("pull", str(folder)) == [NAMES[0], NAMES[1]], "the default tags"
    damaged = folder / f"{NAMES[0]}.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert main(["verify", "--dir", str(folder)]) == 1
    kept = (folder / f"{NAMES[1]}.safetensors").stat().st_mtime_ns
    assert client("pull", str(folder), every=True) == NAMES
    assert (folder / f"{NAMES[1]}.safetensors").stat().st_mtime_ns == kept, "what is right is left alone"
    assert main(["verify", "--dir", str(folder)]) == 0
    hub.requests.clear()
    alone = new_client(HF_HUB_OFFLINE="1", ZOO_WEIGHTS_DIR=str(folder))
    alone("use", str(shelf))
    assert {name: alone("create", name, pretrained=True) for name in NAMES} == expected
    assert hub.requests == []


def test_weights_that_are_not_at_hand_come_with_the_ways_to_them(hub, client, shelf, three):
    client("prepare", str(shelf), "")
    (shelf / "weights" / f"{NAMES[2]}.safetensors").unlink()
    with pytest.raises(ClientError) as caught:
        client("create", NAMES[2], pretrained=True)
    kind, message = caught.value.args
    assert kind == "SourceError"
    assert all(
        words in message
        for words in ("checkout", f"ZOO_WEIGHTS_DIR to a folder that holds {NAMES[2]}.safetensors", "the Hub")
    )


@pytest.mark.fast
def test_words_that_contradict_each_other(capsys):
    for words in (
        ["push"],
        ["push", "yolov8n.one"],
        ["push", "x", "--all", "org"],
        ["pull", "d", "x", "--all"],
        ["verify", "x", "--dir", "d"],
    ):
        assert main(words) == 1, words
    assert capsys.readouterr().err.count("zoo: error:") == 5
