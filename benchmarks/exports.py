"""What each family exports to, compared with PyTorch, into `results/exports.csv`.

Run: `python -m benchmarks.exports`. Every registered family at scale n, with opened gates, is exported and run on one
picture of digits, once a format and size. Stock layers are those trained on COCO; bases without such weights take what
fits of yolo11n's, the rest is random, with the batch statistics of digits. The differences are the largest of all raw
predictions (before non-maximum suppression) to the fused PyTorch model in float32 on the CPU, whose own rounding is
beside them: its largest differences to the same model in float64.
Every block has rows too, grafted on the deepest map of the neck of yolov8n, at one size and without compiling. Rows are
written after each model, and those of models that are not measured stay; `--missing` goes on where a run was stopped.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.optim.swa_utils import update_bn
from ultralytics.utils.torch_utils import intersect_dicts

import zoo
from reproduce.datasets.digits import compose
from zoo import records
from zoo.detector import GraftedDetectionModel, build
from zoo.errors import one_line
from zoo.layers import blocks
from zoo.registry import get_config

TABLE = Path(__file__).parents[1] / "results" / "exports.csv"
SIZES = [(640, 640), (480, 640)]
PIXELS, SCORE = 1e-3, 1e-4
"""Differences that are always allowed."""
ROUNDINGS = 10
"""Beyond those: so many of PyTorch's own. Kernels round differently, those of a plain base up to five times as far."""
TRAINED = {"yolov8n": "yolov8n_dattn.coco"}
"""Whose stock layers to export, by base."""
OTHERWISE = "yolo11n_halo.coco"
"""Whose for every other base, as far as they fit: in random layers alone, rounding grows tenfold and more."""

BLOCKS = [f"yolov8n+{name}@neck_p5" for name in blocks.BLOCKS]

Size = tuple[int, int]
Predictor = Callable[[torch.Tensor], torch.Tensor]


class Difference(NamedTuple):
    """The largest differences of raw predictions: of boxes in pixels, and of scores."""

    box: float
    score: float

    @classmethod
    def between(cls, one: torch.Tensor, other: torch.Tensor) -> Difference:
        """Of predictions `(B, 4 + classes, anchors)`."""
        apart = (one - other).abs()
        return cls(apart[:, :4].max().item(), apart[:, 4:].max().item())


def prepare(name: str, folder: Path) -> zoo.YOLO:
    """A model whose grafts contribute and whose answers depend on the image; its exports are written into `folder`."""
    config = get_config(name)
    torch.manual_seed(0)
    model = build(config)
    for graft in model.grafts.values():
        torch.nn.init.normal_(graft.gamma, std=0.1)
    trained = zoo.create(TRAINED.get(config.base_name, OTHERWISE), pretrained=True).state_dict()
    stock = {key: value for key, value in trained.items() if key.startswith("model.")}
    missing = model.load_state_dict(intersect_dicts(stock, model.state_dict()), strict=False).missing_keys
    if any(key.startswith("model.") for key in missing):
        _enliven(model)
    return zoo.YOLO(f"local-dir:{zoo.save(model, folder)}")


def _enliven(model: GraftedDetectionModel) -> None:
    """Give random layers the batch statistics of digits, and scores of about a half.

    As built, they shrink every activation to nothing, and all scores are next to zero.
    """
    for name, branch in model.model[-1].named_children():
        if name.endswith("cv3"):
            for level in branch:
                torch.nn.init.zeros_(level[-1].bias)
    pictures = [image(320, 320, split="train", index=index) for index in range(4)]
    update_bn([torch.cat(pictures)], model.train())
    model.eval()


def image(height: int, width: int, split: str = "test", index: int = 0) -> torch.Tensor:
    """A picture of digits, `(1, 3, H, W)` in 0 to 1."""
    pixels = compose(split, index, (height, width)).pixels
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous().float() / 255


def _fused(engine: zoo.YOLO) -> GraftedDetectionModel:
    return deepcopy(engine.model).fuse(verbose=False).eval()


def _onnx(engine: zoo.YOLO, size: Size, dynamic: bool = False) -> Predictor:
    import onnxruntime

    file = engine.export(format="onnx", imgsz=list(size), dynamic=dynamic, simplify=False, verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


def _onnx_of_any_size(engine: zoo.YOLO, _: Size) -> Predictor:
    return _onnx(engine, (320, 320), dynamic=True)


def _torchscript(engine: zoo.YOLO, size: Size) -> Predictor:
    return torch.jit.load(engine.export(format="torchscript", imgsz=list(size), verbose=False))


def _openvino(engine: zoo.YOLO, size: Size) -> Predictor:
    import openvino

    folder = engine.export(format="openvino", imgsz=list(size), verbose=False)
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(next(Path(folder).glob("*.xml")), "CPU", options)
    return lambda x: torch.from_numpy(np.asarray(compiled(x.numpy())[0]))


def _torch_export(engine: zoo.YOLO, size: Size) -> Predictor:
    model = _fused(engine)  # a copy, for Detect keeps the anchors of the last call, here those of the capture
    program = torch.export.export(model, (image(*size),)).module()
    return lambda x: program(x)[0]


def _torch_compile(engine: zoo.YOLO, size: Size) -> Predictor:
    model = _fused(engine)
    with torch.inference_mode():
        model(image(*size))  # Detect keeps its anchors from this: making them is no part of a graph
    torch.compiler.reset()  # one process compiles only so many sizes of the same forward
    compiled = torch.compile(model, fullgraph=True)
    return lambda x: compiled(x)[0]


FORMATS: dict[str, Callable[[zoo.YOLO, Size], Predictor]] = {
    "onnx": _onnx,
    "onnx dynamic": _onnx_of_any_size,
    "torchscript": _torchscript,
    "openvino": _openvino,
    "torch.export": _torch_export,
    "torch.compile": _torch_compile,
}


def rounding(engine: zoo.YOLO, size: Size) -> Difference:
    """How far PyTorch's float32 is from its float64, for the fused model."""
    fused = _fused(engine)
    exact = deepcopy(fused).double()
    with torch.inference_mode():
        return Difference.between(fused(image(*size))[0].double(), exact(image(*size).double())[0])


def compare(engine: zoo.YOLO, fmt: str, size: Size) -> Difference:
    """Export, run, and compare with PyTorch."""
    fused = _fused(engine)
    with torch.inference_mode():
        expected = fused(image(*size))[0]
    predict = FORMATS[fmt](engine, size)
    with torch.inference_mode():
        return Difference.between(predict(image(*size)), expected)


def most(own: Difference) -> Difference:
    """The differences that are no more than rounding, PyTorch's own being that of `rounding`."""
    return Difference(max(PIXELS, ROUNDINGS * own.box), max(SCORE, ROUNDINGS * own.score))


def agrees(found: Difference, own: Difference) -> bool:
    """Whether the differences of `compare` are no more than rounding."""
    return found.box < most(own).box and found.score < most(own).score


def measure(engine: zoo.YOLO, fmt: str, size: Size, own: Difference) -> dict[str, str]:
    """What a row of the table says of one comparison; a format that fails has a reason in place of differences."""
    rounded = {"rounding_px": f"{own.box:.1e}", "rounding_score": f"{own.score:.1e}"}
    try:
        found = compare(engine, fmt, size)
    except Exception as error:  # every exporter has its own
        reason = f"{type(error).__name__}: {one_line(error)}"
        return {"ok": "no", "box_px": "", "score": "", **rounded, "error": reason[:200]}
    ok = "yes" if agrees(found, own) else "no"
    return {"ok": ok, "box_px": f"{found.box:.1e}", "score": f"{found.score:.1e}", **rounded, "error": ""}


def main() -> None:
    registered = [name for name in zoo.list_models() if get_config(name).scale == "n"]
    known = registered + BLOCKS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", choices=known, default=known, metavar="NAME", help="the rest keeps its rows"
    )
    parser.add_argument("--missing", action="store_true", help="only models that have no row")
    options = parser.parse_args()
    packages = ("torch", "ultralytics", "onnx", "onnxruntime", "openvino")
    about = records.environment(packages=packages)
    rows: dict[str, list[dict[str, str]]] = {name: [] for name in known}
    for row in records.read(TABLE):
        rows.get(row["model"], []).append(row)
    for name in options.models:
        if options.missing and rows[name]:
            continue
        rows[name] = []
        formats = [fmt for fmt in FORMATS if name not in BLOCKS or fmt != "torch.compile"]
        with tempfile.TemporaryDirectory() as folder:
            engine = prepare(name, Path(folder, "model"))
            sizes = SIZES[1:] if name in BLOCKS else SIZES
            own = {size: rounding(engine, size) for size in sizes}
            for fmt in formats:
                for size in sizes:
                    case = {"model": name, "format": fmt, "height": str(size[0]), "width": str(size[1])}
                    rows[name].append(case | measure(engine, fmt, size, own[size]) | about)
                    print(*list(rows[name][-1].values())[:10], flush=True)
        records.write(TABLE, [row for measured in rows.values() for row in measured])


if __name__ == "__main__":
    main()
