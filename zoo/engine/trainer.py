"""Ultralytics' trainer for models that carry grafts.

What a resumed run repeats exactly, and what it cannot: Ultralytics' checkpoint holds the averaged weights (EMA) in half
precision, the optimiser's state and the epoch, but neither the raw weights nor the state of any random generator. A
resumed run therefore goes on from the averaged weights at the right epoch, learning rate and optimiser state, with the
order of images and augmentations that the seed gives to a run's first epoch. Without augmentation and with one batch an
epoch it follows the uninterrupted run up to rounding and the lag of the average, which a test measures.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from ultralytics.cfg import DEFAULT_CFG_DICT
from ultralytics.data.dataset import YOLODataset
from ultralytics.engine import trainer as ultralytics_trainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils import LOCAL_RANK, RANK, WORLD_SIZE
from ultralytics.utils.torch_utils import strip_optimizer, torch_distributed_zero_first

from zoo.detector import GraftedDetectionModel
from zoo.engine import data
from zoo.errors import CheckpointError, DataError, OptionError, ZooError
from zoo.files import replacing, write_text
from zoo.report import cards
from zoo.weights import checkpoint, saved

# OpenVINO reports its use over the network from its import on, unless the package that does so cannot be imported.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


class ZooTrainer(DetectionTrainer):
    """Ultralytics' detection trainer for models that carry grafts.

    A run leaves `weights/zoo/{model.safetensors,config.json,README.md}` beside Ultralytics' own `best.pt`, from the
    same best epoch, loadable with `zoo.create("local-dir:<run>/weights/zoo")`. Checkpoints are written to another name
    and renamed, so that a full disk or a kill leaves the one before. Under torchrun it also trains on CPU, by gloo.

    Grafts are optimised as Ultralytics optimises every layer: sparing gates and position tables from decay was measured
    to change nothing (`results/ablations/decay.csv`), and a learning rate of their own was not tried.

    Args:
        *args: As in Ultralytics.
        **kwargs: As in Ultralytics.

    Raises:
        DataError: The data YAML, an image or a label is unusable.
        OptionError: The run's folder cannot be written.
        CheckpointError: A checkpoint could not be written.
    """

    model: Any
    wdir: Path
    last: Path
    best: Path

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
        except OSError as error:
            if isinstance(error, ZooError) or error.errno is None:
                raise
            raise OptionError(
                f"the run cannot be written: {error.strerror}: {error.filename}. Choose a folder with project=PATH."
            ) from error
        if self.device.type == "cuda":
            if self.args.amp is True and torch.cuda.is_bf16_supported(including_emulation=False):
                self.args.amp = "bf16"  # same speed as fp16, and no model is downloaded to check it
            if RANK != -1:
                self.world_size = WORLD_SIZE  # Ultralytics counts the devices of this machine alone
        elif self.device.type == "cpu" and self.args.amp == "bf16" and not _has_bfloat16():
            data.LOGGER.warning("amp=bf16 is emulated on this processor, many times slower than amp=False")
        self.add_callback("on_pretrain_routine_end", _use_all_cores)

    def _do_train(self) -> None:
        stock = ultralytics_trainer.autocast
        if self.device.type == "cpu":  # whose bfloat16 Ultralytics refuses, though many processors have it
            ultralytics_trainer.autocast = lambda dtype, device: torch.autocast(device, torch.bfloat16, bool(dtype))
        try:
            super()._do_train()
        finally:
            ultralytics_trainer.autocast = stock

    def auto_batch(self) -> int:
        """Ultralytics' estimate for `batch=-1`; on a CPU, which it does not measure, its default batch."""
        return DEFAULT_CFG_DICT["batch"] if self.device.type == "cpu" else super().auto_batch()

    def get_dataset(self) -> dict[str, Any]:
        """Read the data YAML, or say what is wrong with it."""
        if not str(self.args.data).endswith(".ndjson"):  # which Ultralytics first converts
            data.read(self.args.data, self.args.split)
        return super().get_dataset()

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> YOLODataset:
        """Scan a split as Ultralytics does, and refuse it where Ultralytics would skip an image or a label."""
        try:
            dataset = super().build_dataset(img_path, mode, batch)
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(f"data={self.args.data} cannot be used: {' '.join(str(error).split())}") from error
        data.check_labels(dataset)
        return dataset

    def get_model(
        self, cfg: str | dict[str, Any] | None = None, weights: nn.Module | None = None, verbose: bool = True
    ) -> nn.Module:
        """Rebuild a grafted model from its `yaml`, anything else as Ultralytics does; channels last on a CPU."""
        if not isinstance(cfg, dict) or "grafts" not in cfg:
            model = super().get_model(cfg, weights, verbose)
        else:
            channels, classes = self.data["channels"], self.data["nc"]
            model = GraftedDetectionModel(cfg, ch=channels, nc=classes, verbose=verbose and RANK == -1)
            self.set_model_names_for_load(model)
            if weights is not None:
                model.load(weights)
        return model.to(memory_format=torch.channels_last) if self.device.type == "cpu" else model

    def _build_train_pipeline(self) -> None:
        if RANK != -1 and self.device.type == "cpu" and not isinstance(self.model, DistributedDataParallel):
            # Ultralytics joins processes on accelerators alone; this is the last step before it needs them joined.
            distributed.init_process_group("gloo")
            self.world_size = WORLD_SIZE
            self.amp = False
            self.model = DistributedDataParallel(self.model, broadcast_buffers=False, find_unused_parameters=True)
        super()._build_train_pipeline()

    def save_model(self) -> bool:
        """Write the checkpoints beside their places, then rename them.

        Raises:
            CheckpointError: They could not be written, e.g. on a full disk; those of the epoch before are untouched.
        """
        places = self.wdir, self.last, self.best
        staging = self.wdir / ".saving"
        self.wdir, self.last, self.best = staging, staging / self.last.name, staging / self.best.name
        try:
            written = super().save_model()
            for file in staging.iterdir():
                _replace(file, places[0] / file.name)
        except OSError as error:
            raise CheckpointError(
                f"epoch {self.epoch + 1} could not be saved in {places[0]}: {error.strerror or error}. The checkpoints "
                f"of the epoch before are intact; make room, then resume with zoo.YOLO({str(places[1])!r})"
                ".train(resume=True)."
            ) from error
        finally:
            self.wdir, self.last, self.best = places
            shutil.rmtree(staging, ignore_errors=True)
        return written

    def final_eval(self) -> None:
        """Validate the best checkpoint, and write it as the zoo's own files.

        As in Ultralytics, but checkpoints are stripped of the optimiser under another name, and processes on CPU
        validate the best weights together.
        """
        with torch_distributed_zero_first(LOCAL_RANK):
            if RANK in {-1, 0}:
                results = _strip(self.last).get("train_results")
                _strip(self.best, {"train_results": results})
        if not self.best.exists():
            return
        model, _ = load_checkpoint(self.best)
        self.validator.args.plots = self.args.plots
        self.validator.args.compile = False
        if self.world_size > 1 and self.device.type == "cpu":
            self.ema.ema.load_state_dict(model.state_dict())
            self.metrics, _ = self.validate()
        else:
            self.metrics = self.validator(model=self.best)
        if RANK in {-1, 0}:
            self.metrics.pop("fitness", None)
            if isinstance(model, GraftedDetectionModel):
                model.yaml["imgsz"] = self.args.imgsz
                folder = saved.save(model, self.wdir / "zoo")
                write_text(folder / "README.md", cards.render_model(model.config, f"local-dir:{folder}"))
        self.epoch += 1  # loggers note the best epoch's result after the last epoch's
        self.run_callbacks("on_fit_epoch_end")
        self.epoch -= 1


def _has_bfloat16() -> bool:
    """Whether PyTorch computes bfloat16 on this CPU by AVX-512 or Arm's instructions rather than one by one."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _strip(file: Path, updates: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ultralytics' `strip_optimizer`, all or nothing; empty for a file that is not there."""
    if not file.exists():
        return {}
    checkpoint.load(file)  # which refuses what strip_optimizer would run: a resumed run's folder may be a stranger's
    with replacing(file) as temporary:
        return strip_optimizer(file, str(temporary), updates)


def _replace(written: Path, place: Path) -> None:
    """Rename a file into its place once its bytes are on disk."""
    with written.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(written, place)


def _use_all_cores(trainer: DetectionTrainer) -> None:
    """Undo Ultralytics' thread limit, which leaves a CPU run one core short; processes of a machine share its cores."""
    if trainer.device.type == "cpu":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
