"""What a run would cost: a step measured here, and an estimate for GPUs from the operations and memory it takes."""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from ultralytics.cfg import get_cfg

import zoo
from reproduce.job import Job, load_recipe

GPUS = (1, 8)
PEAK = 989e12
"""Dense bfloat16 operations a second of an H100 SXM, from its data sheet."""
SHARES = (0.03, 0.12)
"""Shares of the peak that a training is assumed to reach, the first for n and the last for x: not measured here."""
SCALING = 0.9
"""Assumed efficiency of eight cards against one."""
CARD_GB = 80
STEPS = 2
SAMPLE = 4


def learning(model: nn.Module, freeze_base: str | bool, freeze: int = 0) -> list[nn.Parameter]:
    """What a training changes: all but the first `freeze` layers, or grafts and head, with "norm" also BatchNorm."""
    if not freeze_base:
        frozen = tuple(f"model.{index}." for index in range(freeze))
        return [p for name, p in model.named_parameters() if not name.startswith(frozen)]
    norms = {f"{name}." for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    changed = ("grafts.", f"model.{len(model.model) - 1}.", *(norms if freeze_base == "norm" else ()))
    return [p for name, p in model.named_parameters() if name.startswith(changed)]


def estimate(job: Job) -> dict[str, Any]:
    """Say what a job would do and what it costs, from a few training steps on random images.

    Neither data nor base weights are needed: images are counted in the recipe, and the time of a step does not depend
    on the values of the weights.
    """
    recipe = load_recipe(job.recipe)
    settings = job.training()
    images = {split: expected["images"] for split, expected in recipe.dataset["expected"].items()}
    if job.smoke:
        from reproduce.pipeline import SMOKE_IMAGES

        images = {split: min(count, SMOKE_IMAGES) for split, count in images.items()}
    epochs, batch, imgsz = settings["epochs"], settings["batch"], settings["imgsz"]
    steps = math.ceil(images["train"] / batch) * epochs
    step = measure_step(job, len(recipe.dataset.get("names", ())) or 80, imgsz)
    total = step["operations"] * images["train"] * epochs
    return {
        "command": job.command,
        "images": images,
        "epochs": epochs,
        "steps": steps,
        "here": {
            "measured_on": f"{STEPS} steps of {SAMPLE} random images, on {torch.get_num_threads()} CPU threads",
            "seconds_per_step": round(step["seconds"] * batch, 3),
            "hours_of_training_steps": round(step["seconds"] * images["train"] * epochs / 3600, 2),
            "operations_per_second": f"{step['operations'] / step['seconds']:.3g}",
        },
        "h100": [_on_cards(cards, total, images["train"] * epochs, step, batch) for cards in GPUS],
        "assumed": f"{SHARES[0]:.0%} to {SHARES[1]:.0%} of {PEAK:.3g} operations a second and card, {SCALING:.0%} "
        f"efficiency of 8 cards, images decoded and augmented as fast as images_per_second says",
        "arguments": settings,
    }


def measure_step(job: Job, num_classes: int, imgsz: int) -> dict[str, float]:
    """Seconds, operations and bytes that autograd keeps, an image, of forward, loss and backward; and state in bytes.

    Operations are those of a step as it is taken, so that a frozen base costs less.
    """
    model = zoo.create(job.model, num_classes=num_classes, width=job.width).train()
    model.args = get_cfg()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    learned = learning(model, job.freeze_base, job.training().get("freeze", 0))
    for parameter in learned:
        parameter.requires_grad_()
    batch = _random_batch(num_classes, imgsz)
    half = job.training().get("amp") == "bf16" and torch.ops.mkldnn._is_mkldnn_bf16_supported()

    def step(half: bool) -> float:
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, half):
            loss, _ = model.loss(batch)
        loss.sum().backward()
        model.zero_grad(set_to_none=True)
        return time.perf_counter() - started

    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = sum(parameter.nbytes for parameter in model.parameters())
    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
        step(half)
    changing = sum(parameter.nbytes for parameter in learned)
    return {
        "seconds": statistics.median(step(half) for _ in range(STEPS)) / SAMPLE,
        "operations": counter.get_total_flops() / SAMPLE,
        "bytes": max(0, sum(kept.values()) - weights) / SAMPLE / (1 if half else 2),
        "state": 2 * weights + 3 * changing,  # the weights and their average; gradients and Adam's two moments
    }


def _on_cards(cards: int, total: float, images: int, step: dict[str, float], batch: int) -> dict[str, Any]:
    rates = [PEAK * share * cards * (SCALING if cards > 1 else 1) for share in SHARES]
    slow, fast = (total / rate for rate in rates)
    memory = step["state"] + step["bytes"] * math.ceil(batch / cards)
    return {
        "cards": cards,
        "hours": [round(fast / 3600, 2), round(slow / 3600, 2)],
        "images_per_second": [round(images / slow), round(images / fast)],
        "memory_gb_per_card": round(memory / 1e9, 1),
        "fits": memory < 0.9 * CARD_GB * 1e9,
    }


def _random_batch(num_classes: int, imgsz: int, boxes: int = 8) -> dict[str, Tensor]:
    """Images `(SAMPLE, 3, imgsz, imgsz)` with `boxes` objects each, as Ultralytics' loss takes them."""
    random = torch.Generator().manual_seed(0)
    count = SAMPLE * boxes
    return {
        "img": torch.rand(SAMPLE, 3, imgsz, imgsz, generator=random),
        "batch_idx": torch.arange(SAMPLE).repeat_interleave(boxes).float(),
        "cls": torch.randint(num_classes, (count, 1), generator=random).float(),
        "bboxes": torch.rand(count, 4, generator=random) * 0.4 + 0.1,
    }
