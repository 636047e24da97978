"""Whole models leave PyTorch with their attention: each format, each family, against PyTorch."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator

import pytest

import zoo
from benchmarks.exports import FORMATS, SIZES, TABLE, Size, agrees, compare, prepare
from tests.families import FAMILIES
from zoo.registry import get_config

NEEDS = {"onnx": "onnxruntime", "onnx dynamic": "onnxruntime", "openvino": "openvino"}
SLOW = {"openvino", "torch.export", "torch.compile"}
CASES = [("onnx", SIZES[0]), *((name, SIZES[1]) for name in FORMATS)]


@pytest.fixture(scope="module", params=FAMILIES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[zoo.YOLO]:
    yield prepare(request.param, tmp_path_factory.mktemp("exports") / "model")


@pytest.mark.parametrize(
    ("fmt", "size"), [pytest.param(*case, marks=[pytest.mark.slow] * (case[0] in SLOW)) for case in CASES]
)
def test_predictions_are_those_of_pytorch(engine: zoo.YOLO, fmt: str, size: Size) -> None:
    if fmt in NEEDS:
        pytest.importorskip(NEEDS[fmt])
    box, score = compare(engine, fmt, size)
    assert agrees(fmt, box, score), (box, score)


@pytest.mark.fast
def test_table_has_every_family_in_every_format_and_size() -> None:
    with TABLE.open(newline="") as file:
        rows = {
            (row["model"], row["format"], int(row["height"]), int(row["width"])): row for row in csv.DictReader(file)
        }
    families = [name for name in zoo.list_models() if get_config(name).scale == "n"]
    assert rows.keys() == {(name, fmt, *size) for name in families for fmt in FORMATS for size in SIZES}
    for row in rows.values():
        agreed = bool(row["box_px"]) and agrees(row["format"], float(row["box_px"]), float(row["score"]))
        assert (row["ok"] == "yes") == agreed


def test_openvino_reports_nothing_over_the_network() -> None:
    pytest.importorskip("openvino")
    code = "import zoo.engine, openvino.tools.ovc.telemetry_utils as used; print(used.tm.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "openvino.tools.ovc.telemetry_stub"
