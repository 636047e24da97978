"""A stock Ultralytics detector that carries grafts without moving a single stock tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import Detect
from ultralytics.nn.tasks import DetectionModel, OBBModel, PoseModel, SegmentationModel
from ultralytics.utils import LOGGER

from zoo import places, registry
from zoo.config import STEM, GraftConfig, ModelConfig
from zoo.errors import ChannelError, ConfigError, DataError, UnknownBlockError
from zoo.layers import blocks
from zoo.layers.graft import Graft

CLASS_BRANCHES = ("cv3", "one2one_cv3")
"""Of a head, what yields the class logits: for many boxes an object, and in end-to-end heads for one."""
REFUSE_STOCK = "this checkpoint carries attention grafts that stock Ultralytics would drop; train it with zoo.YOLO"


class Grafted(DetectionModel):
    """What makes a model of an Ultralytics task hold attention grafts beside its stock layers.

    The stock layers keep their indices and their state-dict keys (`model.*`); the grafts are `grafts.<position>.*`.
    Ultralytics rebuilds a model from its `yaml` when it trains, resumes or spawns workers, so the plan of the grafts
    lives there. A first backbone row that no stock parser knows makes a rebuild by stock Ultralytics fail with a
    message instead of silently dropping the grafts.

    Args:
        cfg: What `to_yaml` returned, a `yaml` of such a model, or a stock Ultralytics model dictionary.
        ch: Channels of the image.
        nc: Number of classes, overriding `cfg`'s.
        verbose: Print the layer table.
        **options: Of the task's stock model, e.g. `data_kpt_shape` for poses.

    Shape:
        `(B, ch, H, W)` with H, W multiples of the largest stride to what the stock model returns.

    Raises:
        ConfigError: A graft names an unknown block, position or option.
        ChannelError: A block cannot take the channels found at its position.
    """

    def __init__(
        self, cfg: dict[str, Any], ch: int = 3, nc: int | None = None, verbose: bool = True, **options: Any
    ) -> None:
        cfg = deepcopy(cfg)
        plan = [GraftConfig.from_dict(graft) for graft in cfg.pop("grafts", ())]
        num_classes = nc or cfg["nc"]
        class_width = cfg.get("class_width")
        cfg["nc"] = class_width or num_classes
        if "name" in cfg:
            cfg["yaml_file"] = f"{cfg['name']}.yaml"  # by whose stem Ultralytics' summary and exports call the model
        cfg["backbone"] = [row for row in cfg["backbone"] if row[2] != REFUSE_STOCK]
        super().__init__(cfg, ch=ch, verbose=verbose, **options)
        if class_width:
            self.reset_classes(num_classes)
        table = places.layers(self.yaml, ch) if plan else ()
        tried = bool(plan) and registry.is_row(cfg.get("name", ""), plan)
        self.grafts = nn.ModuleDict()
        for graft in plan:
            dim = ch if graft.position == STEM else table[int(graft.position)].channels
            self.grafts[str(graft.position)] = Graft(_build_block(graft, dim, tried), dim)
        self.yaml["grafts"] = [graft.to_dict() for graft in plan]
        if plan:
            self.yaml["backbone"].insert(0, [-1, 1, REFUSE_STOCK, []])
        if verbose:
            self.info()

    @property
    def config(self) -> ModelConfig:
        """The configuration that rebuilds this architecture; class names are included unless they are numbers.

        Raises:
            ConfigError: The model was built of a dictionary of Ultralytics', not by a name of the zoo.
        """
        if "base" not in self.yaml:
            raise ConfigError(
                f"this model was built of Ultralytics' {self.yaml.get('yaml_file', 'dictionary')}, which no name "
                "of the zoo describes. Build it by one, e.g. zoo.YOLO('yolov8n') in place of zoo.YOLO('yolov8n.yaml')."
            )
        placeholder = {i: str(i) for i in range(len(self.names))}
        return ModelConfig(
            name=self.yaml["name"],
            base=self.yaml["base"],
            scale=self.yaml["scale"],
            grafts=tuple(GraftConfig.from_dict(graft) for graft in self.yaml["grafts"]),
            num_classes=self.yaml["nc"],
            class_names=None if self.names == placeholder else tuple(str(name) for name in self.names.values()),
            class_width=self.yaml.get("class_width"),
            width=self.yaml.get("width"),
            imgsz=self.yaml["imgsz"],
            base_sha256=self.yaml.get("base_sha256"),
            task=self.yaml.get("task", "detect"),
            layout=self.yaml.get("layout", ""),
            kpt_shape=tuple(self.yaml["kpt_shape"]) if "kpt_shape" in self.yaml else None,
        )

    def info(self, *args: Any, **kwargs: Any) -> Any:
        """Log layers, parameters and operations as Ultralytics does, of the model with its grafts."""
        # Ultralytics' constructor asks before there are any; this class asks again at the end of its own.
        return super().info(*args, **kwargs) if hasattr(self, "grafts") else None

    def reset_classes(self, num_classes: int, class_names: Sequence[str] | None = None) -> list[str]:
        """Give the head fresh class logits, keeping every other tensor.

        Args:
            num_classes: New number of classes.
            class_names: One name a class; numbers when omitted.

        Returns:
            State-dict keys of the tensors that were re-initialised.
        """
        head: Detect = self.model[-1]
        fresh = []
        for name, branch in _class_branches(head).items():
            old = branch[-1]
            new = nn.Conv2d(old.in_channels, num_classes, 1).to(old.weight)
            if name.startswith(CLASS_BRANCHES):
                stride = float(head.stride[int(name.rpartition(".")[2])])
                with torch.no_grad():
                    new.get_parameter("bias").fill_(_class_prior(num_classes, stride))
            branch[-1] = new.train(old.training)
            fresh += [f"model.{head.i}.{name}.{len(branch) - 1}.{part}" for part in ("weight", "bias")]
        head.nc, head.no = num_classes, num_classes + 4 * head.reg_max
        self.nc = self.yaml["nc"] = num_classes
        self.names = dict(enumerate(class_names)) if class_names else {i: str(i) for i in range(num_classes)}
        self._note_class_width()
        self.criterion = None
        return fresh

    def loss(self, batch: dict[str, Any], preds: Any = None) -> Any:
        """Ultralytics' loss, in float32 (or float64) whatever the precision of the forward pass.

        Left alone, mixed precision places the grid's cells and decodes the boxes in its own type: in bfloat16, the
        corners of a box at the far side of a 640 px image snap to steps of 4 px.

        Args:
            batch: Images and labels, as Ultralytics' loader makes them.
            preds: What the forward pass returned, if it has run.

        Returns:
            The loss, and its detached parts by name.
        """
        preds = self.forward(batch["img"]) if preds is None else preds
        with torch.autocast(batch["img"].device.type, enabled=False):
            return super().loss(batch, _at_least_float32(preds))

    def load(self, weights: dict[str, Any] | nn.Module, verbose: bool = True) -> None:
        """Take over matching tensors as Ultralytics does when it trains, and keep `yaml` true to the head it leaves."""
        super().load(weights, verbose=False)
        self._note_class_width()
        if verbose:
            source = (weights.get("ema") or weights["model"]) if isinstance(weights, dict) else weights
            LOGGER.info(f"{self.yaml.get('name', 'model')}: transferred {self._count_transferred(source)}")

    def _count_transferred(self, source: nn.Module) -> str:
        """How many tensors of the base, and of the grafts, a model has from another."""
        given, own = source.state_dict(), self.state_dict()
        taken = {key for key, tensor in own.items() if key in given and given[key].shape == tensor.shape}
        counts = []
        for part, prefix in (("the base", "model."), ("the grafts", "grafts.")):
            keys = {key for key in own if key.startswith(prefix)}
            if keys:
                counts.append(f"{len(keys & taken)} of {len(keys)} tensors of {part}")
        return ", ".join(counts)

    def _note_class_width(self) -> None:
        self.yaml["class_width"] = next(iter(_class_branches(self.model[-1]).values()))[-1].in_channels

    def _check_size(self, x: Any) -> None:
        """Refuse sizes at which the maps of the neck do not meet, of which PyTorch would say two numbers of one map."""
        low, high = int(self.stride.min()), int(self.stride.max())
        if any(math.ceil(side / low) % (high // low) for side in x.shape[2:]):
            raise DataError(
                f"this model takes images whose sides are multiples of {high} pixels, found {x.shape[-2]} x "
                f"{x.shape[-1]}; zoo.YOLO(...).predict takes any size and pads."
            )

    def _predict_once(self, x: Any, profile: bool = False, embed: list[int] | None = None) -> Any:
        """Run the stock layers in order, each graft right after its position; see the stock method for arguments."""
        if not hasattr(self, "grafts") and "base" in self.yaml:
            return self._of_strides(x)
        if hasattr(self, "grafts") and not (torch.jit.is_tracing() or torch.compiler.is_compiling()):
            self._check_size(x)
        outputs: list[Any] = []
        times: list[float] = []
        pooled = []
        for layer in self.model:
            x = self.gather(layer, x, outputs)
            if profile:
                self._profile_one_layer(layer, x, times)
            x = self.attend(layer, layer(x), outputs)
            if embed and layer.i in embed:
                pooled.append(x.mean((2, 3)))
                if layer.i == max(embed):
                    return torch.unbind(torch.cat(pooled, 1))
        return x

    def _of_strides(self, x: Tensor) -> dict[str, list[Tensor]]:
        """Empty maps of the sizes that the head reads, for the stock constructor, which runs the model to know them."""
        strides = [layer.stride for layer in places.layers(self.yaml, x.shape[1])]
        sides = [[side // strides[index] for side in x.shape[2:]] for index in self.model[-1].f]
        return {"feats": [x.new_empty(1, 1, *side) for side in sides]}

    def gather(self, layer: Any, x: Any, outputs: list[Any]) -> Any:
        """What a stock layer takes, one map or several; the first takes the image, after its graft if it has one.

        Args:
            layer: The next of `model`.
            x: What the layer before returned, the image for the first.
            outputs: Of the layers before, those that later layers read.
        """
        if layer.i == 0 and STEM in self._grafts:
            x = self._grafts[STEM](x)
        if isinstance(layer.f, int):
            return x if layer.f == -1 else outputs[layer.f]
        return [x if index == -1 else outputs[index] for index in layer.f]

    def attend(self, layer: Any, x: Any, outputs: list[Any]) -> Any:
        """Pass a layer's output through the graft there, if there is one, and keep in `outputs` what is read again."""
        if str(layer.i) in self._grafts:
            x = self._grafts[str(layer.i)](x)
        outputs.append(x if layer.i in self.save else None)
        return x

    @property
    def _grafts(self) -> Any:
        return getattr(self, "grafts", {})  # absent while the stock constructor works


class GraftedDetectionModel(Grafted, DetectionModel):
    """Ultralytics' detector with grafts."""


class GraftedSegmentationModel(Grafted, SegmentationModel):
    """Ultralytics' model of instance masks with grafts."""


class GraftedPoseModel(Grafted, PoseModel):
    """Ultralytics' model of keypoints with grafts."""


class GraftedOBBModel(Grafted, OBBModel):
    """Ultralytics' detector of oriented boxes with grafts."""


MODELS: dict[str, type[Grafted]] = {
    "detect": GraftedDetectionModel,
    "segment": GraftedSegmentationModel,
    "pose": GraftedPoseModel,
    "obb": GraftedOBBModel,
}
"""The class of each task."""


def to_yaml(config: ModelConfig) -> dict[str, Any]:
    """The model dictionary that Ultralytics passes around, with the zoo's own keys added."""
    config = places.resolve(config)
    return {
        **places.read(config),
        "yaml_file": f"{config.base_name}.yaml",
        "name": config.name,
        "base": config.base,
        "task": config.task,
        "layout": config.layout,
        "nc": config.num_classes,
        "class_width": config.class_width,
        "width": config.width,
        "imgsz": config.imgsz,
        "base_sha256": config.base_sha256,
        "grafts": [graft.to_dict() for graft in config.grafts],
    }


def build(config: ModelConfig) -> Grafted:
    """A freshly initialised model.

    The stock part draws from torch's generator before the grafts do, so under one seed a grafted model and its plain
    base start from the same stock weights.

    Raises:
        ConfigError: A graft names an unknown block, position or option.
        ChannelError: A block cannot take the channels found at its position.
    """
    model = MODELS[config.task](to_yaml(config), verbose=False)
    model.task = config.task
    if config.class_names is not None:
        model.names = dict(enumerate(config.class_names))
    return model.eval()


def _class_branches(head: Any) -> dict[str, Any]:
    """The parts of a head that end in one channel a class, by their name in it; fusing leaves one branch of two."""
    present = [name for name in CLASS_BRANCHES if getattr(head, name, None) is not None]
    branches = {f"{name}.{level}": branch for name in present for level, branch in enumerate(getattr(head, name))}
    semantic = getattr(getattr(head, "proto", None), "semseg", None)
    return branches if semantic is None else {**branches, "proto.semseg": semantic}


def _at_least_float32(preds: Any) -> Any:
    if isinstance(preds, dict):
        return {name: _at_least_float32(value) for name, value in preds.items()}
    if isinstance(preds, (list, tuple)):
        return type(preds)(_at_least_float32(value) for value in preds)
    if isinstance(preds, Tensor) and preds.is_floating_point():
        return preds.to(torch.promote_types(preds.dtype, torch.float32))
    return preds


def _class_prior(num_classes: int, stride: float) -> float:
    """Logit at which a fresh class head expects five objects in the cells of a 640 px image, shared by the classes."""
    return math.log(5 / num_classes / (640 / stride) ** 2)


def _build_block(graft: GraftConfig, dim: int, tried: bool = False) -> nn.Module:
    try:
        return blocks.build(graft.block, dim, graft.options, tried=tried)
    except UnknownBlockError:
        raise
    except (ChannelError, ConfigError) as error:
        raise type(error)(f"graft {graft.block!r} at position {graft.position}: {error}") from error
