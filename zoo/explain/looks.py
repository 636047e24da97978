"""`zoo.attention`: one picture through a grafted model, with an eye on every graft."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.ops import box_iou
from ultralytics.data.augment import LetterBox
from ultralytics.engine.model import Model
from ultralytics.utils import nms, ops

from zoo import pictures
from zoo.config import STEM
from zoo.detector import Grafted
from zoo.errors import OptionError
from zoo.layers.attention import Part, told
from zoo.layers.graft import Graft

SAME_OBJECT = 0.5


@dataclass(frozen=True)
class Look:
    """What one graft does to one picture.

    Attributes:
        place: Where the graft sits, e.g. `"layer 9"`.
        block: Class of the block.
        change: `(H, W)` of its map: norm over channels of `gamma * block(x)` relative to that of `x`.
        strength: The same over the whole map: one number.
        opened: Whether any gate has left zero; a graft whose gates are shut changes nothing.
        cell: Row and column of the query on the map.
        stride: Height and width of a cell, in pixels of what the model saw.
        parts: What the block says of itself, see `zoo.layers.attention`; empty when it does not.
    """

    place: str
    block: str
    change: np.ndarray
    strength: float
    opened: bool
    cell: tuple[int, int]
    stride: tuple[float, float]
    parts: Mapping[str, Part]

    @property
    def effect(self) -> str:
        """What the graft does to its map, in words."""
        if not self.opened:
            return "changes nothing: its gate never opened"
        return f"changes its map by {self.strength:.1%}"


@dataclass(frozen=True)
class Detections:
    """Boxes in pixels of the picture, `(N, 4)` of left, top, right and bottom, with scores and class numbers `(N,)`."""

    boxes: Tensor
    scores: Tensor
    classes: Tensor


@dataclass(frozen=True)
class Explanation:
    """One picture, explained.

    Attributes:
        picture: RGB, `(H, W, 3)`, as it was given.
        names: Class names by number.
        at: The point that was asked about: x and y in pixels of the picture.
        scale: What the model saw is the picture scaled by this factor and moved by `shift`.
        shift: x and y in pixels of what the model saw.
        looks: One a graft, in the order in which the model runs them.
        found: Detections with the grafts.
        found_without: Detections with every gate shut.
    """

    picture: np.ndarray
    names: Mapping[int, str]
    at: tuple[float, float]
    scale: float
    shift: tuple[float, float]
    looks: tuple[Look, ...]
    found: Detections
    found_without: Detections

    @property
    def gained(self) -> list[int]:
        """Detections that are there only with the grafts, by number."""
        return _unmatched(self.found, self.found_without)

    @property
    def lost(self) -> list[int]:
        """Detections that are there only with the gates shut, by number in `found_without`."""
        return _unmatched(self.found_without, self.found)

    def to_picture(self, points: Tensor, stride: tuple[float, float]) -> Tensor:
        """From rows and columns of a map, `(..., 2)`, to x and y in pixels of the picture, `(..., 2)`."""
        seen = (points + 0.5) * torch.tensor(stride).to(points)
        return (seen.flip(-1) - torch.tensor(self.shift).to(points)) / self.scale


def attention(
    model: Any,
    image: str | Path | Image.Image | np.ndarray,
    *,
    at: tuple[float, float] | None = None,
    box: int | None = None,
    imgsz: int | None = None,
    conf: float = 0.25,
) -> Explanation:
    """Ask every graft of a model what it looks at from one point of a picture.

    Args:
        model: A grafted model: what `zoo.create` or `zoo.YOLO` returned.
        image: A file, a PIL image, or an array `(H, W, 3)` in BGR as in Ultralytics, see `zoo.pictures.read`.
        at: The point, x and y in pixels of the picture; its middle when neither `at` nor `box` is given.
        box: Number of a detection, the most confident being 0: the point is its middle.
        imgsz: Longer side at the model in pixels; as trained when omitted.
        conf: Least confidence of a detection.

    Raises:
        OptionError: The model has no graft, the point is outside the picture, or there is no such detection.
        DataError: The image cannot be read.
    """
    network = model.model if isinstance(model, Model) else model
    if not isinstance(network, Grafted):
        raise OptionError(f"attention takes a model of zoo.create or zoo.YOLO, found {type(model).__name__}.")
    if not network.grafts:
        raise OptionError(
            f"{network.yaml.get('name', 'this model')} is plain: nothing is grafted on it, so there is no attention to "
            "show. Try a grafted name, e.g. yolov8n_dattn."
        )
    if at is not None and box is not None:
        raise OptionError("give either at=(x, y) or box=NUMBER.")
    picture = pictures.read(image)
    seen, scale, shift = _letterbox(picture, imgsz or int(network.yaml["imgsz"]), int(max(network.stride)))
    with torch.inference_mode(), _evaluating(network):
        seen = seen.to(next(network.parameters()))
        records, output = _run(network, seen)
        found = _detections(network, output, seen.shape[2:], picture.shape[:2], conf)
        with _gates_shut(network):
            without = _detections(network, network(seen), seen.shape[2:], picture.shape[:2], conf)
        point = _point(picture, found, at, box)
        looks = tuple(_look(network, key, x, y, seen.shape[2:], point, scale, shift) for key, x, y in records)
    return Explanation(picture, network.names, point, scale, shift, looks, found, without)


def _letterbox(picture: np.ndarray, imgsz: int, stride: int) -> tuple[Tensor, float, tuple[float, float]]:
    """What the model sees, `(1, 3, H, W)` in [0, 1], with the scale and shift from the picture to it."""
    height, width = picture.shape[:2]
    boxed = LetterBox((imgsz, imgsz), auto=True, stride=stride)(image=picture)
    scale = min(imgsz / height, imgsz / width)
    inside = round(width * scale), round(height * scale)
    shift = round((boxed.shape[1] - inside[0]) / 2 - 0.1), round((boxed.shape[0] - inside[1]) / 2 - 0.1)
    tensor = torch.from_numpy(np.ascontiguousarray(boxed)).permute(2, 0, 1)[None].float() / 255
    return tensor, scale, (float(shift[0]), float(shift[1]))


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    training = network.training
    try:
        network.eval()
        yield
    finally:
        network.train(training)


@contextmanager
def _gates_shut(network: Grafted) -> Iterator[None]:
    gammas = [graft.gamma for graft in network.grafts.values() if isinstance(graft, Graft)]
    gates = [(gamma, gamma.clone()) for gamma in gammas]
    try:
        for gamma, _ in gates:
            gamma.zero_()
        yield
    finally:
        for gamma, kept in gates:
            gamma.copy_(kept)


def _run(network: Grafted, seen: Tensor) -> tuple[list[tuple[str, Tensor, Tensor]], Any]:
    """Key, input and output of every graft in the order of the forward pass, and the model's output."""
    records: list[tuple[str, Tensor, Tensor]] = []
    handles = [
        graft.register_forward_hook(lambda _, inputs, output, key=key: records.append((key, inputs[0], output)))
        for key, graft in network.grafts.items()
    ]
    try:
        return records, network(seen)
    finally:
        for handle in handles:
            handle.remove()


def _detections(network: Grafted, output: Any, seen: torch.Size, shape: tuple[int, ...], conf: float) -> Detections:
    predictions = output[0] if isinstance(output, (list, tuple)) else output
    [rows] = nms.non_max_suppression(
        predictions, conf, 0.7, nc=len(network.names), end2end=bool(getattr(network, "end2end", False))
    )
    rows = rows[rows[:, 4].argsort(descending=True)]
    boxes = ops.scale_boxes(tuple(seen), rows[:, :4].clone(), tuple(shape))
    return Detections(boxes.float(), rows[:, 4].float(), rows[:, 5].long())


def _point(
    picture: np.ndarray, found: Detections, at: tuple[float, float] | None, box: int | None
) -> tuple[float, float]:
    height, width = picture.shape[:2]
    if box is not None:
        if not 0 <= box < len(found.boxes):
            have = f"there are {len(found.boxes)}, numbered from 0" if len(found.boxes) else "there are none"
            raise OptionError(f"there is no detection {box}: {have}. Give a point, or a lower conf.")
        left, top, right, bottom = found.boxes[box].tolist()
        at = (left + right) / 2, (top + bottom) / 2
        at = min(max(at[0], 0), width - 1), min(max(at[1], 0), height - 1)
    x, y = (width / 2, height / 2) if at is None else at
    if not (0 <= x < width and 0 <= y < height):
        raise OptionError(f"the point {x:g},{y:g} is outside the picture of {width} x {height} pixels.")
    return float(x), float(y)


def _look(
    network: Grafted,
    key: str,
    x: Tensor,
    y: Tensor,
    seen: torch.Size,
    point: tuple[float, float],
    scale: float,
    shift: tuple[float, float],
) -> Look:
    graft = network.grafts[key]
    assert isinstance(graft, Graft)
    rows, columns = x.shape[2:]
    stride = seen[0] / rows, seen[1] / columns
    cell = (
        min(int((point[1] * scale + shift[1]) / stride[0]), rows - 1),
        min(int((point[0] * scale + shift[0]) / stride[1]), columns - 1),
    )
    change, size = (y - x).float().norm(dim=1)[0], x.float().norm(dim=1)[0]
    return Look(
        place="image" if key == STEM else f"layer {key}",
        block=type(graft.block).__name__,
        change=(change / size.clamp(min=torch.finfo(torch.float32).tiny)).cpu().numpy(),
        strength=float(change.norm() / size.norm().clamp(min=torch.finfo(torch.float32).tiny)),
        opened=bool(graft.gamma.abs().max() > 0),
        cell=cell,
        stride=stride,
        parts=told(graft.block, x, torch.tensor([cell], device=x.device)),
    )


def _unmatched(ours: Detections, theirs: Detections) -> list[int]:
    """Detections without a partner of the same class that overlaps by half."""
    overlap = box_iou(ours.boxes, theirs.boxes) * (ours.classes[:, None] == theirs.classes)
    return [number for number in range(len(ours.boxes)) if not (overlap[number] >= SAME_OBJECT).any()]
