"""Manifests that were damaged or made to harm: whatever they hold, a `ManifestError` comes out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.weights.anything import FUZZ, JSON
from zoo import errors
from zoo.weights import manifest


def entry(**changes) -> dict:
    return {
        "sha256": "0" * 64,
        "bytes": 1,
        "sources": ["repo:weights/a.b.safetensors"],
        "num_classes": 1,
        "class_names": ["cell"],
        "imgsz": 320,
        "dataset": "BCCD",
        "license": "AGPL-3.0",
        "metrics": {"val": {"mAP50": 0.9}},
        "recipe": "python train.py",
        "commit": "abc",
        **changes,
    }


@pytest.mark.fast
@pytest.mark.parametrize(
    "changes",
    [
        {"sources": ["repo:weights/../secret.safetensors"]},
        {"sources": ["repo:../weights/a.safetensors"]},
        {"sources": ["repo:/etc/a.safetensors"]},
        {"sources": ["repo:weights\\..\\a.safetensors"]},
        {"sources": ["repo:weights/a.pt"]},
        {"sources": ["repo:weights/a\0.safetensors"]},
        {"sources": ["https://example.com/a.safetensors"]},
        {"sources": ["hf:org/name@main"]},
        {"sources": ["hf:../name@" + "0" * 40 + "/"]},
        {"sources": []},
        {"sources": "repo:weights/a.b.safetensors"},
        {"sha256": "0" * 63},
        {"sha256": None},
        {"bytes": True},
        {"bytes": -1},
        {"num_classes": 2},
        {"class_names": [1]},
        {"metrics": {"val": {"mAP50": float("nan")}}},
        {"metrics": {"val": 0.9}},
        {"recipe": "two\nlines"},
        {"surprise": 1},
        {"base_tensors": "0" * 63},
        {"base_tensors": None},
    ],
)
def test_manifest_entries_that_are_refused(tmp_path, changes):
    file = tmp_path / "weights_manifest.json"
    file.write_text(json.dumps({"schema": 1, "weights": {"a.b": entry(**changes)}}))
    with pytest.raises(errors.ManifestError):
        manifest.entries(file)


@pytest.mark.fast
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": 3, "weights": {}}',
        '{"schema": true, "weights": {}}',
        '{"schema": 1, "weights": []}',
        '{"schema": 1, "weights": {}, "weights": {}}',
        '{"schema": 1, "weights": {"../x.y": {}}}',
        '{"schema": 1, "weights": {"a": {}}}',
        '{"schema": 1, "weights": {"a.b": {}}}',
        "[" * 100_000,
        "\ud800",
    ],
)
def test_manifests_that_are_refused(tmp_path, text):
    file = tmp_path / "weights_manifest.json"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(errors.ManifestError):
        manifest.entries(file)


@FUZZ
@given(data=JSON | st.builds(lambda key, value: entry(**{key: value}), st.sampled_from(sorted(entry())), JSON))
def test_any_json_is_an_entry_or_a_manifest_error(data):
    try:
        made = manifest.Entry.from_dict(data)
    except errors.ManifestError:
        return
    assert manifest.Entry.from_dict(json.loads(json.dumps(made.to_dict()))) == made


@FUZZ
@given(content=st.binary(max_size=100) | JSON.map(lambda data: json.dumps(data).encode()))
def test_any_bytes_are_a_manifest_or_a_manifest_error(tmp_path, content):
    file = tmp_path / "weights_manifest.json"
    file.write_bytes(content)
    with pytest.raises(errors.ManifestError):
        manifest.entries(file)
