"""What a training will cost, from a few steps of it, and what a model costs here and now."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from zoo.engine import quirks

STEPS = 3
ROUNDS = 7
BATCH = 4
# Bytes a parameter: an fp16 checkpoint with AdamW's two moments, twice (last.pt, best.pt), beside the saved model.
BYTES_TRAINING = 14
BYTES_KEPT = 6


def seconds_per_image(model: nn.Module, imgsz: int, device: torch.device, threads: int) -> tuple[float, float]:
    """Time of one image in a training step and in validation, without its loading.

    Two steps of four images after one that does not count; every output stands for its loss.

    Args:
        model: A detector; it is copied.
        imgsz: Pixels of a side.
        device: Where to time it.
        threads: Of a training on CPU.
    """
    model = deepcopy(model).to(device).train()
    images = torch.rand(BATCH, 3, imgsz, imgsz, device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    before = torch.get_num_threads()
    torch.set_num_threads(threads if device.type == "cpu" else before)
    try:
        steps = [_timed(lambda: _step(model, images, optimizer), device) for _ in range(STEPS)][1:]
        model.eval()
        with torch.no_grad():
            looks = [_timed(lambda: model(images), device) for _ in range(STEPS)][1:]
    finally:
        torch.set_num_threads(before)
    return min(steps) / BATCH, min(looks) / BATCH


def milliseconds(models: Mapping[str, Any], imgsz: int, device: torch.device) -> dict[str, float]:
    """Time of one image, batch 1, through each fused model: the median of turns in which all are timed.

    Args:
        models: Detectors by name; they are copied.
        imgsz: Pixels of a side.
        device: Where to time them.
    """
    image = torch.rand(1, 3, imgsz, imgsz, device=device)
    fused = {name: deepcopy(model).eval().fuse(verbose=False).to(device) for name, model in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    before = torch.get_num_threads()
    torch.set_num_threads(quirks.thread_share() if device.type == "cpu" else before)
    try:
        with torch.no_grad():
            for turn in range(ROUNDS + 1):
                for name, model in fused.items():
                    seconds = _timed(lambda model=model: model(image), device)  # type: ignore[misc]
                    if turn:
                        times[name].append(1000 * seconds)
    finally:
        torch.set_num_threads(before)
    return {name: statistics.median(found) for name, found in times.items()}


def _step(model: nn.Module, images: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    _total(model(images)).backward()
    optimizer.step()


def _total(outputs: Any) -> Tensor:
    """Sum of every floating-point output."""
    if isinstance(outputs, Tensor):
        return outputs.float().mean() if outputs.is_floating_point() else torch.zeros((), device=outputs.device)
    parts = outputs.values() if isinstance(outputs, Mapping) else outputs
    return sum((_total(part) for part in parts), torch.zeros(()))


def _timed(what: Any, device: torch.device) -> float:
    started = time.perf_counter()
    what()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
