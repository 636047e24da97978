"""Entry points of `torch.hub`: every architecture and every `architecture.tag` that has weights.

`torch.hub.load("org/repo", "yolov8n_dattn", pretrained=True)` is `zoo.create("yolov8n_dattn", pretrained=True)`.
"""

from functools import partial as _partial
from typing import Any as _Any

import zoo as _zoo

dependencies = ["torch", "torchvision", "ultralytics", "timm", "einops", "huggingface_hub", "safetensors", "filelock"]
dependencies += ["PIL", "yaml"]


_OPTIONS = "pretrained=False, num_classes=None, base_weights=None, width=None, features_only=False"


def _create(name: str, **options: _Any) -> _Any:
    return _zoo.create(name, **options)


for _name in _zoo.list_models() + _zoo.list_models(pretrained=True):
    globals()[_name] = _partial(_create, _name)
    globals()[_name].__doc__ = f"zoo.create({_name!r}, *, {_OPTIONS})"
