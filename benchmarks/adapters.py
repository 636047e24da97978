"""What adapters cost and save: size on disk, switching, memory of ten domains, speed of training over a frozen base.

    python -m benchmarks.adapters [--model yolov8n_dattn] [--steps 20]

Writes `results/benchmark_adapters.csv`, one row a measure, with random weights. Training is steps of 16 images of 320
pixels; what is compared runs by turns.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from ultralytics.cfg import DEFAULT_CFG_DICT, get_cfg

import zoo
from zoo import assets, records
from zoo.engine import quirks
from zoo.weights.tensors import write_tensors

FILE = "benchmark_adapters.csv"
DOMAINS = 10
Row = dict[str, str]


def main() -> None:
    """Measure, print and write the rows."""
    parser = argparse.ArgumentParser(description="Measure adapters.")
    parser.add_argument("--model", default="yolov8n_dattn")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    logging.getLogger("zoo").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments.model, arguments.steps, Path(folder))
    environment = records.environment(packages=("torch", "ultralytics"))
    rows = [{"model": arguments.model, **row, **environment} for row in found]
    for row in rows:
        print(f"{row['measure']}: {row['value']} {row['unit']}")
    records.write(assets.root() / "results" / FILE, rows)


def measure(name: str, steps: int, folder: Path) -> list[Row]:
    """All rows, over a base of random weights."""
    config = zoo.create(name).config
    base = folder / "base.safetensors"
    write_tensors(zoo.create(config.base_name).state_dict(), base)
    for index in range(DOMAINS):
        model = zoo.create(name, base_weights=base, num_classes=4)
        zoo.save(model, folder / f"whole{index}")
        zoo.save(model, folder / f"adapter{index}", adapter=True)
    zoo.save(model, folder / "norm", adapter="norm")
    return [*sizes(folder), *memory(folder, base), *switching(folder, base), *training(name, base, steps)]


def sizes(folder: Path) -> list[Row]:
    """Bytes on disk."""
    kinds = {"whole model": "whole0", "adapter": "adapter0", "adapter with batch norms": "norm"}
    return [
        _row(f"on disk, {what}", (folder / name / "model.safetensors").stat().st_size / 1e6, "MB")
        for what, name in kinds.items()
    ]


def memory(folder: Path, base: Path) -> list[Row]:
    """Bytes of all tensors in memory, those that several models share counted once."""
    several = zoo.Adapters(base, {str(index): folder / f"adapter{index}" for index in range(DOMAINS)})
    kinds = {
        "adapters": [several.use(name) for name in several.names],
        "whole models": [zoo.create(f"local-dir:{folder / f'whole{index}'}") for index in range(DOMAINS)],
    }
    rows = []
    for what, models in kinds.items():
        unique = {tensor.data_ptr(): tensor.nbytes for model in models for tensor in model.state_dict().values()}
        rows.append(_row(f"in memory, {DOMAINS} {what}", sum(unique.values()) / 1e6, "MB"))
    return rows


def switching(folder: Path, base: Path) -> list[Row]:
    """Choosing another domain, and one batch through several of them."""
    names = [f"d{index}" for index in range(DOMAINS)]
    adapters = zoo.Adapters(base, {name: folder / f"adapter{index}" for index, name in enumerate(names)})
    image = torch.rand(1, 3, 640, 640)

    def one_by_one() -> None:
        for name in names[:4]:
            adapters.use(name)
            adapters(image)

    alone, shared = _alternately(one_by_one, lambda: adapters.run(image, names[:4]), repeats=5)
    switch = _alternately(*(lambda name=name: adapters.use(name) for name in names[:2]), repeats=100)
    return [
        _row("switching", max(switch) * 1e3, "ms"),
        _row("640 px through 4, one by one", alone * 1e3, "ms"),
        _row("640 px through 4, prefix shared", shared * 1e3, "ms"),
    ]


def training(name: str, base: Path, steps: int) -> list[Row]:
    """Images a second of full fine-tuning and over a frozen base, steps by turns."""
    kinds: dict[str, bool | str] = {"full": False, "freeze_base=norm": "norm", "freeze_base=True": True}
    steps_of = {what: _stepper(name, base, frozen) for what, frozen in kinds.items()}
    found = _alternately(*steps_of.values(), repeats=steps)
    return [_row(f"training, {what}", 16 / each, "images/s") for what, each in zip(kinds, found, strict=True)]


def _stepper(name: str, base: Path, frozen: bool | str) -> Callable[[], None]:
    model = zoo.create(name, base_weights=base, num_classes=4).train()
    model.args = get_cfg(DEFAULT_CFG_DICT)
    layers = model.model[:-1]
    names = quirks.all_but_norms(layers) if frozen == "norm" else [str(i) for i in range(len(layers))] if frozen else []
    prefixes = tuple(f"model.{each}." for each in names)
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.is_floating_point() and not key.startswith(prefixes) and ".dfl" not in key)
    if frozen is True:
        layers.apply(lambda part: part.eval() if isinstance(part, torch.nn.BatchNorm2d) else None)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    batch = {
        "img": torch.rand(16, 3, 320, 320),
        "cls": torch.randint(4, (32, 1)).float(),
        "bboxes": torch.rand(32, 4) * 0.4 + 0.3,
        "batch_idx": torch.arange(16).repeat_interleave(2).float(),
    }

    def step() -> None:
        optimizer.zero_grad()
        model.loss(batch)[0].sum().backward()
        optimizer.step()

    return step


def _alternately(*calls: Callable[[], object], repeats: int) -> list[float]:
    """Median seconds of each call, after one that does not count, by turns."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(repeats + 1):
        for call, own in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            if turn:
                own.append(time.perf_counter() - start)
    return [statistics.median(own) for own in times]


def _row(what: str, value: float, unit: str) -> Row:
    return {"measure": what, "value": f"{value:.4g}", "unit": unit}


if __name__ == "__main__":
    main()
