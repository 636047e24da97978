"""Files that were damaged or made to harm: whatever they hold, a `ZooError` comes out and nothing is loaded."""

from __future__ import annotations

import inspect
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import zoo
from tests.weights.anything import FUZZ, JSON
from tests.weights.conftest import randomized, same
from zoo import errors
from zoo.config import GraftConfig, ModelConfig
from zoo.detector import _build_block
from zoo.layers.blocks import BLOCKS
from zoo.weights import official
from zoo.weights.tensors import load_into, read_tensors, write_tensors


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    return zoo.save(randomized("yolov8n_a2", num_classes=2), tmp_path_factory.mktemp("saved"))


def header(data: dict, tail: bytes = b"") -> bytes:
    text = json.dumps(data).encode()
    return struct.pack("<Q", len(text)) + text + tail


def pickled() -> bytes:
    return pickle.dumps({"weight": 1})


def zipped() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, buffer)
    return buffer.getvalue()


F16 = {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}


@pytest.mark.fast
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "truncated"),
        (b"\x10\0\0", "truncated"),
        (struct.pack("<Q", 1 << 60) + b"{}", "truncated or not safetensors"),
        (struct.pack("<Q", (1 << 64) - 1) + b"{}", "truncated or not safetensors"),
        (struct.pack("<Q", 3) + b"{}", "truncated or not safetensors"),
        (struct.pack("<Q", 4) + b"[{}]", "truncated or not safetensors"),
        (struct.pack("<Q", 4) + b"{{}}", "not a readable safetensors"),
        (header({"a": F16}), "not a readable safetensors"),
        (header({"a": F16}, b"\0" * 5), "not a readable safetensors"),
        (header({"a": {**F16, "shape": [1 << 62, 1 << 62]}}, b"\0" * 4), "not a readable safetensors"),
        (header({"a": {**F16, "shape": [-2]}}, b"\0" * 4), "not a readable safetensors"),
        (header({"a": {**F16, "data_offsets": [4, 0]}}, b"\0" * 4), "not a readable safetensors"),
        (header({"a": F16, "b": F16}, b"\0" * 4), "not a readable safetensors"),
        (header({"a": {**F16, "dtype": "PICKLE"}}, b"\0" * 4), "not a readable safetensors"),
        (pickled(), "is a pickle"),
        (zipped(), "is a pickle"),
        (b"<!DOCTYPE html><html></html>", "truncated or not safetensors"),
    ],
)
def test_files_that_are_not_safetensors(tmp_path, content, words):
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    with pytest.raises(errors.FormatError, match=words):
        read_tensors(file)


@pytest.mark.fast
@pytest.mark.parametrize("high", [0, 0x4B])  # with 0x50 below it, "PK", as an archive begins
def test_a_header_of_any_length_is_no_pickle(tmp_path, high):
    text = json.dumps({"a": F16}).encode()
    for low in range(256):
        length = (high << 8) + low
        if length < len(text):
            length += 1 << 16
        file = tmp_path / f"{low}.safetensors"
        file.write_bytes(struct.pack("<Q", length) + text.ljust(length) + b"\0" * 4)
        assert read_tensors(file)["a"].shape == (2,), hex(low)


def test_a_safetensors_file_is_base_weights_by_its_content_not_by_its_name(tmp_path):
    state = zoo.create("yolov8n").state_dict()
    write_tensors(state, tmp_path / "renamed.pt", half=False)
    assert official.read(tmp_path / "renamed.pt").tensors.keys() == state.keys()


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(errors.SourceError, match="cannot read weights"):
            read_tensors(path)


@FUZZ
@given(content=st.binary(max_size=200) | JSON.map(lambda data: header({"a": data}, b"\0" * 8)))
def test_any_bytes_read_as_tensors_or_fail_as_a_format_error(tmp_path, content):
    file = tmp_path / "fuzz.safetensors"
    file.write_bytes(content)
    try:
        tensors = read_tensors(file)
    except errors.FormatError:
        return
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())


@FUZZ
@given(position=st.integers(0, 2000), value=st.integers(0, 255))
def test_a_changed_byte_of_a_header_never_half_loads(saved, tmp_path, position, value):
    content = bytearray((saved / "model.safetensors").read_bytes())
    content[position] = value
    file = tmp_path / "changed.safetensors"
    file.write_bytes(content)
    target = torch.nn.Linear(1, 1)
    before = {key: tensor.clone() for key, tensor in target.state_dict().items()}
    with pytest.raises((errors.FormatError, errors.StateDictError)):
        load_into(target, read_tensors(file))
    assert all(torch.equal(before[key], tensor) for key, tensor in target.state_dict().items())


WRONG = {
    "missing: model.0.conv.weight": lambda state: state.pop("model.0.conv.weight"),
    "unexpected: extra": lambda state: state.update(extra=torch.zeros(1)),
    r"wrong shape: model.0.bn.bias \(3,\) for \(16,\)": lambda state: state.update({"model.0.bn.bias": torch.zeros(3)}),
    "not finite: model.0.bn.bias": lambda state: state["model.0.bn.bias"].fill_(float("nan")),
    "not finite: model.0.bn.weight": lambda state: state["model.0.bn.weight"].fill_(float("inf")),
    "wrong dtype: model.0.bn.bias torch.int64": lambda state: state.update(
        {"model.0.bn.bias": torch.zeros(16, dtype=torch.int64)}
    ),
    "wrong dtype: model.0.bn.bias torch.complex64": lambda state: state.update(
        {"model.0.bn.bias": torch.zeros(16, dtype=torch.complex64)}
    ),
    "wrong dtype: model.0.bn.num_batches_tracked torch.float32": lambda state: state.update(
        {"model.0.bn.num_batches_tracked": torch.tensor(1.0)}
    ),
}


@pytest.mark.parametrize("words", WRONG)
def test_tensors_that_do_not_fit_are_all_named_and_none_is_loaded(words):
    model = randomized("yolov8n", num_classes=2)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    state = {key: tensor.clone() + 1 for key, tensor in before.items()}
    WRONG[words](state)
    with pytest.raises(errors.StateDictError, match=words):
        load_into(model, state)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


def test_every_problem_is_in_one_message():
    model = randomized("yolov8n", num_classes=2)
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    for words in ("missing: model.0.conv.weight", "unexpected: extra", "not finite: model.0.bn.weight"):
        WRONG[words](state)
    with pytest.raises(errors.StateDictError, match=r"missing: .*unexpected: .*not finite: "):
        load_into(model, state)


class Harm:
    """Unpickling this leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("form", ["bare pickle", "checkpoint", "state dict", "renamed", "in a module"])
def test_a_pickle_that_does_more_than_hold_tensors_is_refused_and_not_run(tmp_path, monkeypatch, form):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "cache"))
    mark = tmp_path / "harmed"
    file = tmp_path / ("yolov8n.safetensors" if form == "renamed" else "yolov8n.pt")
    if form == "bare pickle":
        file.write_bytes(pickle.dumps(Harm(mark)))
    elif form == "in a module":
        module = torch.nn.Conv2d(1, 1, 1)
        module.names = Harm(mark)
        torch.save({"model": module}, file)
    else:
        state = zoo.create("yolov8n").state_dict()
        torch.save({"model": Harm(mark)} if form == "checkpoint" else {**state, "extra": Harm(mark)}, file)
    with pytest.raises(errors.FormatError):
        zoo.create("yolov8n_dattn", base_weights=file)
    assert not mark.exists()


def test_an_archive_of_something_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "cache"))
    file = tmp_path / "yolov8n.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(errors.FormatError, match="nothing in it was run"):
        official.read(file)
    file.write_bytes(b"\x89PNG")
    with pytest.raises(errors.FormatError):
        official.read(file)
    torch.save({"model": 3, "ema": None}, file)
    with pytest.raises(errors.FormatError, match="neither a model nor a state dict"):
        official.read(file)


def test_a_damaged_conversion_in_the_cache_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "cache"))
    file = tmp_path / "yolov8n.pt"
    torch.save(zoo.create("yolov8n").state_dict(), file)
    first = zoo.create("yolov8n", base_weights=file)
    (converted,) = (tmp_path / "cache").rglob("*.safetensors")
    converted.write_bytes(converted.read_bytes()[:100])
    assert same(first, zoo.create("yolov8n", base_weights=file))
    assert converted.stat().st_size > 100


CONFIG = ModelConfig("a", "yolov8", "n").to_dict()
GRAFT = {"position": 9, "block": "a2", "options": {"c_m": 4, "c_n": 4}}


@FUZZ
@given(
    data=JSON
    | st.builds(lambda key, value: {**CONFIG, key: value}, st.sampled_from(sorted(CONFIG)), JSON)
    | st.builds(lambda key, value: {**CONFIG, "grafts": [{**GRAFT, key: value}]}, st.sampled_from(sorted(GRAFT)), JSON)
    | st.dictionaries(st.sampled_from(["c_m", "window_size", "depths"]), JSON).map(
        lambda options: {**CONFIG, "grafts": [{**GRAFT, "options": options}]}
    )
)
def test_any_json_is_a_config_or_a_config_error(data):
    try:
        made = ModelConfig.from_dict(data)
    except errors.ConfigError:
        return
    assert ModelConfig.from_dict(json.loads(json.dumps(made.to_dict()))) == made


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"block": "nonsense"}, "no attention block is called 'nonsense'"),
        ({"block": "os.system"}, "no attention block is called"),
        ({"block": "zoo.layers.a2.DoubleAttention"}, "no attention block is called"),
        ({"position": 90}, "position"),
        ({"position": "../9"}, "position"),
        ({"options": {"surprise": 1}}, "surprise"),
        ({"options": {"c_m": 1 << 40}}, "absurd memory"),
        ({"options": {"c_m": "4"}}, "graft 'a2' at position"),
        ({"options": {"c_m": 4096, "depths": [200] * 16}}, "absurd memory"),
    ],
)
def test_configs_from_elsewhere_that_are_refused(saved, tmp_path, changes, words):
    config = json.loads((saved / "config.json").read_text())
    config["grafts"] = [{**config["grafts"][0], **changes}]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes())
    with pytest.raises(errors.ConfigError, match=words):
        zoo.create(f"local-dir:{tmp_path}")


NUMBERS = st.sampled_from([-1, 0, 1, 2, 8, 64, 0.0, -1.5, 0.5, 1e-9])
OPTIONS = {name: sorted(inspect.signature(block).parameters.keys() - {"dim"}) for name, block in BLOCKS.items()}


@FUZZ
@given(
    block=st.sampled_from(sorted(BLOCKS)),
    dim=st.sampled_from([1, 3, 64]),
    data=st.data(),
)
def test_any_options_build_a_block_or_a_zoo_error(block, dim, data):
    values = NUMBERS | st.sampled_from([None, True, "table", ""]) | st.lists(st.integers(-1, 8), max_size=3)
    options = data.draw(st.dictionaries(st.sampled_from(OPTIONS[block]), values))
    try:
        built = _build_block(GraftConfig(9, block, options), dim)
    except errors.ZooError:
        return
    assert isinstance(built, torch.nn.Module)


def test_local_folders_that_are_incomplete_or_torn(saved, tmp_path):
    with pytest.raises(errors.ConfigError, match=r"cannot read .*config\.json"):
        zoo.create(f"local-dir:{tmp_path}")
    (tmp_path / "config.json").write_bytes((saved / "config.json").read_bytes())
    with pytest.raises(errors.SourceError, match=r"no file at .*model\.safetensors"):
        zoo.create(f"local-dir:{tmp_path}")
    content = (saved / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[:-2] + b"\x11\x22")
    with pytest.raises(errors.IntegrityError, match="was not loaded"):
        zoo.create(f"local-dir:{tmp_path}")


def test_a_save_that_fails_leaves_what_was_there(saved, tmp_path, monkeypatch):
    first = zoo.create(f"local-dir:{saved}")
    zoo.save(first, tmp_path)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("zoo.weights.tensors.save_file", full)
        with pytest.raises(OSError, match="No space left"):
            zoo.save(randomized("yolov8n_a2", num_classes=2), tmp_path)
    assert same(first, zoo.create(f"local-dir:{tmp_path}"))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_extra_tensors_in_a_good_file_are_refused(saved, tmp_path):
    tensors = read_tensors(saved / "model.safetensors")
    save_file({**tensors, "more": torch.zeros(1)}, tmp_path / "more.safetensors")
    with pytest.raises(errors.StateDictError, match="unexpected: more"):
        load_into(zoo.create("yolov8n_a2", num_classes=2), read_tensors(tmp_path / "more.safetensors"))
