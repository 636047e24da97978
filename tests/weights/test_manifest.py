"""The manifest keeps its order, loses nothing to other processes, and is never half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock

from tests.weights.test_untrusted_manifest import entry
from zoo import errors
from zoo.weights import manifest

pytestmark = pytest.mark.fast


def test_nothing_here_imports_torch():
    code = "import sys, zoo.weights.manifest as m; m.entries(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


def test_added_in_order_and_replaced_in_place(tmp_path):
    file = tmp_path / "weights_manifest.json"
    first = manifest.Entry.from_dict(entry(dataset="first"))
    for name in ("z.b", "a.b", "z.a"):
        manifest.add(name, first, file)
    manifest.add("a.b", replace(first, dataset="second"), file)
    found = manifest.entries(file)
    assert list(found) == ["z.b", "a.b", "z.a"]
    assert [each.dataset for each in found.values()] == ["first", "second", "first"]
    assert json.loads(file.read_text())["schema"] == manifest.SCHEMA


def test_the_first_tag_is_the_default(monkeypatch, tmp_path):
    monkeypatch.setattr("zoo.assets.root", lambda: tmp_path)
    for name in ("yolov8n.b", "yolov8n_hat.x", "yolov8n.a"):
        manifest.add(name, entry())
    assert manifest.tags("yolov8n") == ("b", "a")
    assert manifest.find("yolov8n")[0] == "yolov8n.b"
    assert manifest.tags("yolov8s") == ()
    manifest.add("yolov8n.coco", entry())
    assert manifest.tags("yolov8n") == ("coco", "b", "a"), "everyday classes are what a name without a tag means"


def test_a_source_is_added_once(monkeypatch, tmp_path):
    monkeypatch.setattr("zoo.assets.root", lambda: tmp_path)
    manifest.add("yolov8n.a", entry())
    pushed = "hf:org/zoo@" + "0" * 40
    for _ in range(2):
        manifest.add_source("yolov8n.a", pushed)
    assert manifest.entries()["yolov8n.a"].sources == ("repo:weights/a.b.safetensors", pushed)
    before = manifest.path().read_bytes()
    with pytest.raises(errors.ManifestError, match="sources must be"):
        manifest.add_source("yolov8n.a", "hf:org/zoo@main")
    with pytest.raises(errors.ManifestError, match="no entry"):
        manifest.add_source("yolov8n.b", pushed)
    assert manifest.path().read_bytes() == before


def test_a_source_is_added_to_what_others_wrote_meanwhile(monkeypatch, tmp_path):
    monkeypatch.setattr("zoo.assets.root", lambda: tmp_path)
    manifest.add("yolov8n.a", entry())
    acquire = FileLock.__enter__

    def after_another(lock):
        monkeypatch.undo()
        monkeypatch.setattr("zoo.assets.root", lambda: tmp_path)
        manifest.add("yolov8n.a", entry(dataset="another"))
        return acquire(lock)

    monkeypatch.setattr(FileLock, "__enter__", after_another)
    manifest.add_source("yolov8n.a", "hf:org/zoo@" + "0" * 40)
    found = manifest.entries()["yolov8n.a"]
    assert (found.dataset, len(found.sources)) == ("another", 2)


def test_a_malformed_manifest_is_not_overwritten(tmp_path):
    file = tmp_path / "weights_manifest.json"
    file.write_text("{")
    with pytest.raises(errors.ManifestError):
        manifest.add("a.b", entry(), file)
    assert file.read_text() == "{"


def test_processes_that_add_at_once_lose_no_entry(tmp_path):
    file = tmp_path / "weights_manifest.json"
    code = (
        "import sys, json, pathlib; from zoo.weights import manifest\n"
        "for i in range(10): manifest.add(f'{sys.argv[1]}.{i}', json.loads(sys.argv[2]), pathlib.Path(sys.argv[3]))"
    )
    root = Path(__file__).parents[2]
    commands = [[sys.executable, "-c", code, name, json.dumps(entry()), str(file)] for name in "abc"]
    started = [subprocess.Popen(command, cwd=root) for command in commands]
    assert [process.wait() for process in started] == [0, 0, 0]
    assert len(manifest.entries(file)) == 30
