"""`create`: from a name to a model with weights in it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from zoo import registry, weights
from zoo.config import ModelConfig
from zoo.detector import GraftedDetectionModel, build

LOGGER = logging.getLogger("zoo")


def create(
    name: str,
    *,
    pretrained: bool = False,
    num_classes: int | None = None,
    base_weights: str | Path | bool | None = None,
) -> GraftedDetectionModel:
    """Build a registered model, or one that a directory or a Hub repository describes.

    Args:
        name: `"<architecture>"`, `"<architecture>.<tag>"`, `"local-dir:<path>"` or `"hf-hub:<org>/<repo>[@<revision>]"`.
        pretrained: Load the weights of the tag, or of the first tag. The last two forms always load theirs.
        num_classes: Another number of classes than the weights have: all but the class head is kept.
        base_weights: Official weights of the plain base, placed under fresh grafts: a path, a file name that
            Ultralytics publishes (`"yolov8s.pt"`), or `True` for the base's own.

    Returns:
        A detector in eval mode, float32, that maps images `(B, 3, H, W)` in [0, 1] to what Ultralytics' does.

    Raises:
        UnknownModelError: No such model.
        UnknownTagError: No such tag of the model.
        NoWeightsError: `pretrained` for a model that has none.
        WeightsError: The weights cannot be found, verified or loaded.
    """
    if name.startswith("local-dir:"):
        directory = Path(name.removeprefix("local-dir:"))
        config = ModelConfig.from_dict(json.loads((directory / "config.json").read_text()))
        tensors = weights.read(directory / "model.safetensors")
        model = build(config)
        weights.load_into(model, tensors)
    else:
        architecture, tag = registry.split_tag(name)
        config = registry.get_config(architecture)
        model = build(config if num_classes is None else config.with_classes(num_classes))
    return model
