"""What model the tensors of a checkpoint make up, so that a graft can go over them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from zoo import places
from zoo.config import BASES, LAYOUTS, SCALES, ModelConfig
from zoo.detector import Grafted, build
from zoo.errors import ConfigError, StateDictError
from zoo.names import TASKS
from zoo.weights.official import Base
from zoo.weights.tensors import class_head, load_into

_EPSILON = 1e-3
"""Of Ultralytics' batch norms."""


def recognize(file: Path, found: Base) -> ModelConfig:
    """The configuration of a checkpoint: base, scale, task, classes, and its grafts if it is the zoo's.

    Args:
        file: Where it was read, for messages.
        found: What was read.

    Raises:
        StateDictError: It is none of the known bases; the message says what it is.
    """
    if found.model is None:
        raise StateDictError(
            f"{file} holds tensors and does not say of which model. Give a checkpoint that Ultralytics wrote, or say "
            f"which: zoo.create('yolov8n+...', base_weights={str(file)!r})."
        )
    if "grafts" in found.model:
        stated = {key: found.model.get(key) for key in ("name", "base", "scale", "grafts", "width", "imgsz")}
        optional = {key: found.model[key] for key in ("task", "layout", "kpt_shape") if key in found.model}
        return with_head(ModelConfig.from_dict({"schema": 1, **stated, **optional}), found)
    for config in _alike(found.model):
        config = with_head(config, found)
        if not _misfits(build(config), found.tensors):
            return config
    rows = [*found.model.get("backbone", ()), *found.model.get("head", ())]
    what = f"{len(rows)} layers that end in {rows[-1][2]}" if rows else "a model without a layer table"
    raise StateDictError(
        f"{file} is none of {', '.join(BASES)} for {', '.join(TASKS)}: it holds {what} "
        f"({found.model.get('yaml_file', 'no model file named')}, scale {found.model.get('scale', 'not said')})."
    )


def with_head(config: ModelConfig, found: Base) -> ModelConfig:
    """The same model with the classes of a checkpoint."""
    classes, width = class_head(found.tensors)
    return replace(config.with_classes(classes, found.class_names), class_width=width, base_sha256=found.sha256)


def put(model: Grafted, tensors: Mapping[str, Tensor]) -> None:
    """Load a checkpoint's tensors under a model's fresh grafts; grafts of the checkpoint come along.

    A fused checkpoint has no batch norms: each becomes the identity, and the bias that fusing made is its shift. Fused
    again, as Ultralytics' predictions, validation and exports do first, the model has the checkpoint's numbers, and so
    its predictions, to the bit. Unfused, biases are added in another order: corners of boxes were up to 0.024 px away,
    all else 4e-5 (float32 on the CPU, random weights of five bases). Of an end-to-end head, fusing left one branch,
    which becomes both.

    Raises:
        StateDictError: The checkpoint is of another architecture; nothing was loaded.
    """
    prefixes = ("model.", *(f"grafts.{position}." for position in _grafted(tensors)))
    wanted = {key: tensor for key, tensor in model.state_dict().items() if key.startswith(prefixes)}
    load_into(model, _unfused(wanted, tensors), prefix=prefixes)


def _grafted(tensors: Mapping[str, Tensor]) -> set[str]:
    return {key.split(".")[1] for key in tensors if key.startswith("grafts.")}


def _alike(model: Mapping[str, object]) -> Iterator[ModelConfig]:
    """Stock configurations whose layer table has the same modules, connected alike."""
    for base, scale, task, layout in product(BASES, SCALES, TASKS, LAYOUTS):
        config = ModelConfig("", base, scale, task=task, layout=layout)
        try:
            stock = places.read(config)
        except ConfigError:
            continue
        if _wiring(stock) == _wiring(model) and model.get("scale", scale) == scale:
            keypoints = model.get("kpt_shape")
            config = replace(config, name=config.base_name)
            yield config if keypoints is None else replace(config, kpt_shape=tuple(keypoints))  # type: ignore[arg-type]


def _wiring(model: Mapping[str, object]) -> list[tuple[object, object]]:
    rows = [*model.get("backbone", ()), *model.get("head", ())]  # type: ignore[misc]
    return [(source, module) for source, _, module, *_ in rows]


def _misfits(model: Grafted, tensors: Mapping[str, Tensor]) -> list[str]:
    own = model.state_dict()
    given = _unfused(own, tensors)
    odd = own.keys() ^ given.keys()
    return [*odd, *(key for key in own.keys() & given.keys() if own[key].shape != given[key].shape)]


def _unfused(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a checkpoint under the names of an unfused model, less what fusing added."""
    given = dict(tensors)
    if doubled := next((key for key in own if ".one2one_" in key), None):
        head = doubled.partition("one2one_")[0]
        ones = {key.replace("one2one_", "", 1): t for key, t in given.items() if key.startswith(f"{head}one2one_")}
        many = {key.replace(head, f"{head}one2one_", 1): t for key, t in given.items() if key.startswith(f"{head}cv")}
        given = {**ones, **many, **given}
    for key, tensor in own.items():
        stem, _, part = key.rpartition(".")
        bias = f"{stem.removesuffix('.bn')}.conv.bias"
        if key not in given and stem.endswith(".bn") and bias in given:
            given[key] = {
                "weight": torch.ones_like(tensor),
                "bias": given[bias],
                "running_mean": torch.zeros_like(tensor),
                "running_var": torch.full_like(tensor, 1 - _EPSILON) if part == "running_var" else tensor,
            }.get(part, tensor)
        elif key not in given and ".proto.semseg." in key:  # trained with, and dropped by fusing
            given[key] = tensor
    return {key: tensor for key, tensor in given.items() if key in own or (key in tensors and "conv.bias" not in key)}
