"""Whole models leave PyTorch with their attention: each format, each family, against PyTorch."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from reproduce.datasets.digits import compose
from tests.test_detector import FAMILIES
from zoo.detector import build
from zoo.registry import get_config

SIZES = [(640, 640), (480, 640)]
PIXELS, SCORE = 1e-3, 1e-4


TRAINED = {"yolov8n": "yolov8n_dattn.digits", "yolo11n": "yolo11n_halo.digits"}
"""Whose stock layers to export: in an untrained network rounding grows beyond any tolerance worth having."""


@pytest.fixture(params=FAMILIES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> zoo.YOLO:
    config = get_config(request.param)
    trained = zoo.create(TRAINED[config.base_name], pretrained=True)
    torch.manual_seed(0)
    model = build(config.with_classes(trained.config.num_classes))
    model.load_state_dict({k: v for k, v in trained.state_dict().items() if k.startswith("model.")}, strict=False)
    for graft in model.grafts.values():
        torch.nn.init.normal_(graft.gamma, std=0.1)
    zoo.save(model, tmp_path / "model")
    return zoo.YOLO(f"local-dir:{tmp_path / 'model'}")


def image(height: int, width: int) -> torch.Tensor:
    pixels = compose("test", 0, (height, width)).pixels
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous().float() / 255


def assert_same_predictions(found: np.ndarray | torch.Tensor, expected: torch.Tensor) -> None:
    difference = (torch.as_tensor(np.asarray(found)) - expected).abs()
    assert difference[:, :4].max() < PIXELS
    assert difference[:, 4:].max() < SCORE


@pytest.fixture
def expected(engine: zoo.YOLO) -> dict[tuple[int, int], torch.Tensor]:
    fused = deepcopy(engine.model).fuse(verbose=False)
    with torch.inference_mode():
        return {size: fused(image(*size))[0] for size in SIZES}


@pytest.mark.parametrize("size", SIZES)
def test_onnx(engine: zoo.YOLO, expected: dict[tuple[int, int], torch.Tensor], size: tuple[int, int]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    file = engine.export(format="onnx", imgsz=list(size), simplify=False, verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: image(*size).numpy()})
    assert_same_predictions(found, expected[size])


def test_onnx_of_any_size(engine: zoo.YOLO, expected: dict[tuple[int, int], torch.Tensor]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    file = engine.export(format="onnx", imgsz=320, dynamic=True, simplify=False, verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for size in SIZES:
        (found,) = session.run(None, {session.get_inputs()[0].name: image(*size).numpy()})
        assert_same_predictions(found, expected[size])


def test_torchscript(engine: zoo.YOLO, expected: dict[tuple[int, int], torch.Tensor]) -> None:
    file = engine.export(format="torchscript", imgsz=list(SIZES[1]), verbose=False)
    with torch.inference_mode():
        assert_same_predictions(torch.jit.load(file)(image(*SIZES[1])), expected[SIZES[1]])


@pytest.mark.slow
def test_openvino(engine: zoo.YOLO, expected: dict[tuple[int, int], torch.Tensor]) -> None:
    openvino = pytest.importorskip("openvino")
    folder = engine.export(format="openvino", imgsz=list(SIZES[1]), verbose=False)
    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(next(Path(folder).glob("*.xml")), "CPU", options)
    assert_same_predictions(compiled(image(*SIZES[1]).numpy())[0], expected[SIZES[1]])


@pytest.mark.slow
def test_torch_export(engine: zoo.YOLO, expected: dict[tuple[int, int], torch.Tensor]) -> None:
    program = torch.export.export(engine.model.eval(), (image(*SIZES[1]),))
    with torch.inference_mode():
        assert_same_predictions(program.module()(image(*SIZES[1]))[0], expected[SIZES[1]])


@pytest.mark.slow
def test_compile_to_one_graph(engine: zoo.YOLO, expected: dict[tuple[int, int], torch.Tensor]) -> None:
    compiled = torch.compile(engine.model.eval(), fullgraph=True, backend="aot_eager")
    with torch.inference_mode():
        engine.model(image(*SIZES[1]))  # Detect keeps its anchors from this: making them is no part of a graph
        assert_same_predictions(compiled(image(*SIZES[1]))[0], expected[SIZES[1]])
