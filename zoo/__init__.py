"""A model zoo of Ultralytics YOLO detectors with attention grafts.

`import zoo` imports neither torch nor ultralytics; the functions that need them do.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from zoo import models as _architectures  # noqa: F401  # registers them
from zoo.errors import ZooError

if TYPE_CHECKING:
    from zoo.engine.compare import compare
    from zoo.engine.yolo import YOLO
    from zoo.explain.looks import attention
    from zoo.factory import create
    from zoo.info import ModelInfo, is_model, list_models, list_pretrained, model_info, pretrained_cfg
    from zoo.layers.blocks import register_block
    from zoo.publish.hub import push_to_hub
    from zoo.weights.adapters import Adapters
    from zoo.weights.saved import save

__version__ = "0.2.0"

# True to Ultralytics, and spelt as no user does: a process started from this one tells it from a setting of theirs.
_OFFLINE_BY_US = "tRUE"
_OFFLINE = os.environ.get("YOLO_OFFLINE", "")
OFFLINE = _OFFLINE != _OFFLINE_BY_US and _OFFLINE.strip().lower() in {"1", "true", "yes", "on", "y", "t"}
# Ultralytics reaches for the network and for pip unless told otherwise before its import; a user's own setting wins.
os.environ.setdefault("YOLO_OFFLINE", _OFFLINE_BY_US)
os.environ.setdefault("YOLO_AUTOINSTALL", "0")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reports its use to its makers from its import on
# As the user set it. Importing Ultralytics sets it to 1 where it is not set; if that came first, 1 says nothing.
_THREADS = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
OMP_NUM_THREADS = (
    int(_THREADS) if _THREADS.isdecimal() and (_THREADS != "1" or "ultralytics" not in sys.modules) else None
)

_LAZY = {
    "Adapters": "zoo.weights.adapters",
    "YOLO": "zoo.engine.yolo",
    "compare": "zoo.engine.compare",
    "attention": "zoo.explain.looks",
    "ModelInfo": "zoo.info",
    "create": "zoo.factory",
    "is_model": "zoo.info",
    "list_models": "zoo.info",
    "list_pretrained": "zoo.info",
    "pretrained_cfg": "zoo.info",
    "model_info": "zoo.info",
    "push_to_hub": "zoo.publish.hub",
    "register_block": "zoo.layers.blocks",
    "save": "zoo.weights.saved",
}

__all__ = [
    "YOLO",
    "Adapters",
    "ModelInfo",
    "ZooError",
    "__version__",
    "attention",
    "compare",
    "create",
    "is_model",
    "list_models",
    "list_pretrained",
    "model_info",
    "pretrained_cfg",
    "push_to_hub",
    "register_block",
    "save",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
