"""`zoo.YOLO`: the Ultralytics engine on a zoo model, with the grafts alive through every rebuild."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import matplotlib
import torch
import ultralytics
from ultralytics.cfg import DEFAULT_CFG_DICT
from ultralytics.engine.trainer import RANK
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils import USER_CONFIG_DIR

from zoo import weights
from zoo.detector import GraftedDetectionModel
from zoo.factory import create

_FILE_SUFFIXES = {".pt", ".yaml", ".yml"}


class ZooTrainer(DetectionTrainer):
    """Ultralytics' detection trainer for models that carry grafts.

    A run leaves `weights/zoo/{model.safetensors,config.json}` beside Ultralytics' own `best.pt`, from the same best
    epoch, loadable with `zoo.create("local-dir:<run>/weights/zoo")`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.device.type == "cuda" and self.args.amp is True:
            self.args.amp = "bf16"  # same speed as fp16, and no model is downloaded to check it
        self.add_callback("on_pretrain_routine_end", _use_all_cores)

    def get_model(
        self, cfg: str | dict[str, Any] | None = None, weights: torch.nn.Module | None = None, verbose: bool = True
    ) -> torch.nn.Module:
        """Rebuild a grafted model from its `yaml`; anything else is left to Ultralytics."""
        if not isinstance(cfg, dict) or "grafts" not in cfg:
            return super().get_model(cfg, weights, verbose)
        model = GraftedDetectionModel(
            cfg, ch=self.data["channels"], nc=self.data["nc"], verbose=verbose and RANK == -1
        )
        self.set_model_names_for_load(model)
        if weights is not None:
            model.load(weights)
        return model

    def final_eval(self) -> None:
        """Validate the best checkpoint, then write it as the zoo's own files."""
        super().final_eval()
        if RANK in {-1, 0} and self.best.exists():
            model, _ = load_checkpoint(self.best)
            if isinstance(model, GraftedDetectionModel):
                model.yaml["imgsz"] = self.args.imgsz
                weights.save(model, self.wdir / "zoo")


class YOLO(ultralytics.YOLO):
    """The Ultralytics engine on a zoo model: `train`, `val`, `predict`, `track`, `export`, `benchmark`, `tune`.

    Args:
        model: Anything `zoo.create` takes, or a file that `ultralytics.YOLO` takes.
        task: As in `ultralytics.YOLO`.
        verbose: As in `ultralytics.YOLO`.
        **options: Passed to `zoo.create`.

    Raises:
        ZooError: As `zoo.create`.
    """

    def __init__(
        self, model: str | Path = "yolov8n_dattn", task: str | None = None, verbose: bool = False, **options: Any
    ) -> None:
        _provide_font()
        self._create_options = options
        super().__init__(model, task=task, verbose=verbose)

    @property
    def task_map(self) -> dict[str, dict[str, Any]]:
        """Ultralytics' table with the zoo's model and trainer for detection."""
        table = super().task_map
        return {**table, "detect": {**table["detect"], "model": GraftedDetectionModel, "trainer": ZooTrainer}}

    def _load(self, weights: str, task: str | None = None) -> None:
        if Path(weights).suffix in _FILE_SUFFIXES or (Path(weights).exists() and ":" not in weights):
            super()._load(weights, task)
            return
        self.model = create(weights, **self._create_options)
        has_weights = ":" in weights or any(self._create_options.get(key) for key in ("pretrained", "base_weights"))
        self.ckpt = {"model": self.model}  # makes train() rebuild from this model rather than look for a file
        self.overrides = {
            "model": weights,
            "task": "detect",
            "pretrained": has_weights,
            "imgsz": self.model.yaml["imgsz"],
        }
        self.model.args = {**DEFAULT_CFG_DICT, **self.overrides}
        self.model.pt_path = _checkpoint_name(weights)
        self.task = "detect"
        self.model_name = weights


def _checkpoint_name(name: str) -> str:
    """The file that Ultralytics would have loaded: exports are written beside it, under its stem."""
    if name.startswith("local-dir:"):
        return str(Path(name.removeprefix("local-dir:"), "model.pt"))
    return f"{Path(name.removeprefix('hf-hub:').partition('@')[0]).name}.pt"


def _use_all_cores(trainer: DetectionTrainer) -> None:
    """Undo Ultralytics' thread limit, which leaves a CPU run one core short."""
    if trainer.device.type == "cpu":
        torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _provide_font() -> None:
    """Place a font that matplotlib ships where Ultralytics looks before it downloads one."""
    bundled = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        target = USER_CONFIG_DIR / name
        if not target.exists():
            temporary = target.with_name(f".{name}.{os.getpid()}")
            shutil.copyfile(bundled, temporary)
            os.replace(temporary, target)
