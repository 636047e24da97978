"""`create`: from a name to a model with weights in it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

from torch import Tensor

from zoo import registry
from zoo.config import ModelConfig
from zoo.detector import Grafted, build
from zoo.errors import OptionError, UnknownModelError
from zoo.features import Features
from zoo.names import parse
from zoo.weights import adapter, checkpoint, find, manifest, official, recognize, saved
from zoo.weights.tensors import class_head, load_into, read_tensors

LOGGER = logging.getLogger("zoo")


def create(
    name: str,
    *,
    pretrained: bool = False,
    num_classes: int | None = None,
    base_weights: str | Path | Literal[True] | None = None,
    width: float | None = None,
    features_only: bool = False,
) -> Grafted:
    """Build a model by its name, or one that a directory or a Hub repository describes.

    Args:
        name: `"<architecture>"`, `"<architecture>.<tag>"`, free-form as `"yolo11n+cbam@neck_p4"`, `"local-dir:<path>"`
            or `"hf-hub:<org>/<repo>[@<revision>]"`.
        pretrained: Load the weights of the tag, or of the first tag. The last two forms always load theirs.
        num_classes: Another number of classes than the weights have: all but the class logits is kept, and one line
            of the log names what was not.
        base_weights: Weights of the base, placed under fresh grafts: a checkpoint of your own of the same base, scale
            and task, whose classes are kept; a file name that Ultralytics publishes (`"yolov8s.pt"`, downloaded if it
            is nowhere on this machine); or `True` for the base's own. For an adapter, the base it was trained over.
        width: Another width of the stock layers than the scale's (0.25 for n, 0.5 for s), in random weights: a plain
            control as large as a grafted model.
        features_only: Return `zoo.features.Features`: the maps that the head would read, and their `feature_info`.

    Returns:
        A detector in eval mode, float32, that maps images `(B, 3, H, W)` in [0, 1] to what Ultralytics' does.

    Raises:
        UnknownModelError: No such model.
        UnknownTagError: No such tag of the model.
        NoWeightsError: `pretrained` for a model that has none.
        ConfigError: `num_classes` or `width` cannot be used, or a `config.json` is malformed.
        OptionError: Two kinds of weights were asked for, or weights at another width.
        HubError: The Hub refused or failed.
        WeightsError: The weights cannot be found, verified or loaded, or an adapter was trained over another base.
    """
    wanted = parse(name)
    if not isinstance(pretrained, bool):
        raise OptionError(
            f"pretrained must be True or False, found {pretrained!r:.80}. A tag follows the name, as in "
            f"{wanted.architecture}.TAG; weights of your own are base_weights=PATH."
        )
    if features_only:
        options: dict[str, Any] = {"num_classes": num_classes, "base_weights": base_weights, "width": width}
        return cast(Grafted, Features(create(name, pretrained=pretrained, **options)))
    has_weights = pretrained or wanted.tag or wanted.kind != "model"
    if base_weights and (pretrained or wanted.tag) and not (pretrained and _is_adapter(name)):
        raise OptionError(f"{name}: base_weights go under fresh grafts of an untagged model, without pretrained.")
    if width is not None and (base_weights or has_weights):
        raise OptionError(f"{name}: no weights fit width={width}; leave the width out, or the weights.")
    if wanted.kind == "file":
        raise UnknownModelError(
            f"{name!r} is a file or a folder. Saved models are local-dir:PATH; zoo.YOLO(PATH) opens checkpoints, and "
            "base_weights=PATH puts them under grafts."
        )
    if wanted.kind == "local-dir":
        model = _rebuilt(name, saved.read_saved(wanted.path), base_weights)
    elif wanted.kind == "hf-hub":
        from zoo.weights import hub

        model = _rebuilt(name, saved.read_saved(hub.snapshot(wanted.repo, wanted.revision)), base_weights)
    else:
        config = registry.get_config(wanted)
        if wanted.tag or pretrained:
            name, entry = manifest.find(name)
            config = replace(config.with_classes(entry.num_classes, entry.class_names), imgsz=entry.imgsz)
            if not pretrained:
                _say_untrained(name)
        if pretrained:
            model = _rebuilt(name, trained(name), base_weights)
        elif base_weights:
            model = _with_base(config, base_weights)
        else:
            config = config if num_classes is None else config.with_classes(num_classes)
            return build(config if width is None else replace(config, width=width))
    before = model.config
    if num_classes is not None and num_classes != before.num_classes:
        fresh = model.reset_classes(before.with_classes(num_classes).num_classes)
        LOGGER.warning("%s: %d classes, freshly initialised: %s", name, num_classes, ", ".join(fresh))
    return model


@lru_cache
def _say_untrained(name: str) -> None:
    LOGGER.warning("%s is built with random weights, as in timm; pretrained=True loads the tag's", name)


def graft(base_weights: str | Path, grafts: str) -> Grafted:
    """Put fresh grafts on a checkpoint of one's own; base, scale, task and classes are read from it.

    The model predicts what the checkpoint did, to the bit; over a fused one, when it is fused itself (see
    `zoo.weights.recognize.put`).

    Args:
        base_weights: What Ultralytics or the zoo saved, or the name of an official file.
        grafts: As in a free-form name, e.g. `"dattn@sppf"` or `"cbam@neck_p3,neck_p4+eca@p5"`.

    Raises:
        ConfigError: There is no such block or place, or a graft of the checkpoint is there already.
        WeightsError: The file cannot be found or read, or is none of the known bases; the message says what it is.
    """
    file = checkpoint.find(base_weights)
    found = official.read(file)
    model = build(registry.grafted(recognize.recognize(file, found), grafts))
    recognize.put(model, found.tensors)
    return model


def trained(name: str) -> saved.Saved:
    """Trained weights of the zoo, found and verified, and the configuration they fit.

    Args:
        name: `"<architecture>.<tag>"`, or `"<architecture>"` for its default tag.

    Raises:
        WeightsError: As in `create`.
    """
    full_name, entry = manifest.find(name)
    tensors = read_tensors(find.resolve(full_name))
    config = registry.get_config(parse(full_name)).with_classes(entry.num_classes, entry.class_names)
    config = replace(config, imgsz=entry.imgsz, class_width=class_head(tensors)[1])
    return saved.Saved(config, tensors, entry.base_tensors or None)


def _is_adapter(name: str) -> bool:
    return bool(manifest.tags(parse(name).architecture) and manifest.find(name)[1].base_tensors)


def _with_weights(config: ModelConfig, tensors: Mapping[str, Tensor]) -> Grafted:
    model = build(config)
    load_into(model, tensors)
    return model


def _rebuilt(name: str, found: saved.Saved, base_weights: str | Path | Literal[True] | None) -> Grafted:
    if found.base_tensors is None:
        if base_weights:
            raise OptionError(f"{name} is a whole model, no adapter: leave base_weights out.")
        return _with_weights(found.config, found.tensors)
    if not base_weights:
        trained = f", of sha256 {found.config.base_sha256}" if found.config.base_sha256 else ""
        raise OptionError(
            f"{name} is an adapter: it holds no base. Add base_weights=PATH, the {found.config.base_name} that it was "
            f"trained over{trained}."
        )
    base = official.read(_base_file(found.config, base_weights))
    model = build(found.config)
    load_into(model, {**adapter.lent(model, found.tensors, base.tensors, found.base_tensors), **found.tensors})
    return model


def _base_file(config: ModelConfig, base_weights: str | Path | Literal[True]) -> Path:
    return checkpoint.find(f"{config.base_name}.pt" if base_weights is True else base_weights)


def _with_base(config: ModelConfig, base_weights: str | Path | Literal[True]) -> Grafted:
    found = official.read(_base_file(config, base_weights))
    model = build(recognize.with_head(config, found))
    recognize.put(model, found.tensors)
    return model
