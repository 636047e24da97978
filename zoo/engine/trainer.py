"""Ultralytics' trainer for models that carry grafts.

What a resumed run repeats exactly, and what it cannot: Ultralytics' checkpoint holds the averaged weights (EMA) in half
precision, the optimiser's state and the epoch, but neither the raw weights nor the state of any random generator. A
resumed run therefore goes on from the averaged weights at the right epoch, learning rate and optimiser state, with the
order of images and augmentations that the seed gives to a run's first epoch. Without augmentation and with one batch an
epoch it follows the uninterrupted run up to rounding and the lag of the average, which a test measures.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any, Literal

import torch
from torch import distributed, nn
from ultralytics.cfg import DEFAULT_CFG_DICT, get_save_dir
from ultralytics.data.dataset import YOLODataset
from ultralytics.engine.validator import BaseValidator
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.models.yolo.obb import OBBTrainer
from ultralytics.models.yolo.pose import PoseTrainer
from ultralytics.models.yolo.segment import SegmentationTrainer
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils import LOCAL_RANK, LOGGER, RANK
from ultralytics.utils.torch_utils import strip_optimizer, torch_distributed_zero_first, unwrap_model

from zoo.detector import MODELS, Grafted
from zoo.engine import data, quirks, scores
from zoo.engine.lock import FolderLock
from zoo.engine.record import NOTES, Recorder, describe_grafts, keep_epochs
from zoo.errors import CheckpointError, DataError, OptionError, ZooError, one_line
from zoo.files import replacing, write_text
from zoo.layers.blocks import Carried
from zoo.report import cards
from zoo.weights import checkpoint, saved

logger = logging.getLogger("zoo")


class GraftTrainer(DetectionTrainer):
    """What makes Ultralytics' trainer of a task train models that carry grafts.

    A run leaves `weights/zoo/{model.safetensors,config.json,README.md}` beside Ultralytics' own `best.pt`, from the
    same best epoch, loadable with `zoo.create("local-dir:<run>/weights/zoo")`; `weights/adapter/` is the same
    without the base, after `freeze_base`. Checkpoints are written to another name and renamed, so that a full disk or a
    kill leaves the one before. Under torchrun it also trains on CPU, by gloo.

    Grafts are optimised as Ultralytics optimises every layer: sparing gates and position tables from decay was measured
    to change nothing (`results/ablations/decay.csv`), and a learning rate of their own was not tried.

    `run.json` says what was trained on what, how far it came and how well it did: `zoo.report.runs.Run`.

    Args:
        *args: As in Ultralytics.
        **kwargs: As in Ultralytics.

    Raises:
        DataError: The data YAML, an image or a label is unusable.
        OptionError: The run's folder cannot be written, or another training writes it.
        CheckpointError: A checkpoint could not be written.
    """

    model: Any
    wdir: Path
    last: Path
    best: Path
    recorder: Recorder | None = None
    _lock: FolderLock | None = None
    _boxes: scores.Collector | None = None
    _validated: int | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
        except BaseException as error:
            if self._lock:
                self._lock.release()
            if isinstance(error, ZooError) or not isinstance(error, OSError) or error.errno is None:
                raise
            raise OptionError(
                f"the run cannot be written: {error.strerror}: {error.filename}. Choose a folder with project=PATH."
            ) from error
        quirks.choose_precision(self)
        quirks.count_all_processes(self)
        if self.device.type == "cpu" and self.args.amp == "bf16" and not _has_bfloat16():
            logger.warning("amp=bf16 is emulated on this processor, many times slower than amp=False")
        self.add_callback("on_pretrain_routine_end", quirks.use_thread_share)
        self.add_callback("on_pretrain_routine_start", Carried())
        if not self.ddp:
            for event, note in NOTES.items():
                self.add_callback(event, note)

    def check_resume(self, overrides: dict[str, Any]) -> None:
        """Find what to resume as Ultralytics does, then take the run's folder: the next step writes into it."""
        super().check_resume(overrides)
        last = Path(str(self.args.model))
        if self.resume and "save_dir" not in overrides and last.parent.name == "weights":
            self.args.save_dir = str(last.absolute().parents[1])  # where the run lies now
        self.args.save_dir = str(get_save_dir(self.args))
        if RANK in {-1, 0}:
            self._lock = FolderLock(Path(self.args.save_dir))
            self._lock.acquire()

    def train(self) -> None:
        """Train to the end, and close `run.json` however that ends.

        Raises:
            KeyboardInterrupt: The training was stopped; the message says how to go on.
        """
        try:
            if self.ddp and self._lock:
                self._lock.release()  # which the first of the processes takes
            super().train()
        except KeyboardInterrupt:
            self._close("cut")
            raise KeyboardInterrupt(self._how_to_go_on()) from None
        except BaseException as error:
            self._close("failed", one_line(error) or type(error).__name__)
            raise
        finally:
            if self._lock:
                self._lock.release()

    def _close(self, status: str, error: str | None = None) -> None:
        if self.recorder:
            self.recorder.ended(status, error)
            self.recorder = None

    def _how_to_go_on(self) -> str:
        if self.last.is_file():
            return f"Go on with: zoo train {self.last} resume=True"
        return "No epoch had ended, so that nothing was saved; the same command starts again."

    def _do_train(self) -> None:
        with quirks.bfloat16_on_cpu(self.device), quirks.data_beside_its_yaml():
            if self._is_trained:
                self._finish()
            else:
                super()._do_train()
        idle = self.epoch + 1 - self.stopper.best_epoch >= self.stopper.patience
        whole = self.epoch + 1 >= self.epochs or idle or bool(self.args.time)
        self._close("ended" if whole else "cut")
        if RANK in {-1, 0}:
            _strip(self.last)  # last of all: what is not stripped can be resumed, if only to finish what was left

    def _setup_train(self) -> None:
        super()._setup_train()
        self._test_set = self._find_test_set()
        if RANK in {-1, 0}:
            keep_epochs(self.csv, self.start_epoch)
            self.recorder = Recorder(self)
            if isinstance(unwrap_model(self.model), Grafted):
                LOGGER.info(describe_grafts(unwrap_model(self.model)))

    @property
    def _is_trained(self) -> bool:
        """Whether the run that is resumed was killed after its last epoch, which Ultralytics refuses to resume."""
        return bool(self.resume) and load_checkpoint(self.args.model)[1].get("epoch", -1) + 1 >= self.epochs

    def _finish(self) -> None:
        """Do what was left to do after the last epoch."""
        self.train_time_start = time.time()
        self._setup_train()
        self.epoch = self.start_epoch - 1
        with torch.no_grad():
            batch = self.preprocess_batch(next(iter(self.train_loader)))
            _, self.loss_items = unwrap_model(self.model).loss(batch)  # by whose names validation adds up its own
        self.final_eval()
        self.run_callbacks("on_train_end")

    def resume_training(self, ckpt: dict[str, Any] | None) -> None:
        """Go on as Ultralytics does, also where no epoch is left."""
        if ckpt is not None and self.resume and ckpt.get("epoch", -1) + 1 >= self.epochs:
            self._load_checkpoint_state(ckpt)
            self.start_epoch = self.epochs
        else:
            super().resume_training(ckpt)

    def _find_test_set(self) -> YOLODataset | None:
        """The test split with its labels, looked at before training so that a bad image is not the end of it."""
        place = self.data.get("test")
        if not place or self.args.split != "val" or not data.exists(place):
            return None
        dataset = self.build_dataset(place, "val", self.args.batch)
        return dataset if any(len(label["cls"]) for label in dataset.labels) else None

    def get_validator(self) -> BaseValidator:
        """Ultralytics' validator, whose boxes are kept for the metrics of `run.json`."""
        validator = super().get_validator()
        self._boxes = scores.Collector(validator) if self.args.task in scores.BOX_TASKS else None
        return validator

    def validate(self) -> Any:
        """Validate the averaged weights as Ultralytics does."""
        if self._boxes:
            self._boxes.clear()
        self._validated = self.epoch
        return super().validate()

    def save_metrics(self, metrics: dict[str, Any]) -> None:
        """Add a line to `results.csv` and an epoch to `run.json`."""
        super().save_metrics(metrics)
        if self.recorder:
            self.recorder.epoch_ended(self, validated=self._validated == self.epoch)

    def auto_batch(self) -> int:
        """Ultralytics' estimate for `batch=-1`; on a CPU, which it does not measure, its default batch."""
        return DEFAULT_CFG_DICT["batch"] if self.device.type == "cpu" else super().auto_batch()

    def get_dataset(self) -> dict[str, Any]:
        """Read the data YAML, or say what is wrong with it."""
        if not str(self.args.data).endswith(".ndjson"):  # which Ultralytics first converts
            data.read(self.args.data, self.args.split)
        with quirks.data_beside_its_yaml():
            return super().get_dataset()

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> YOLODataset:
        """Scan a split as Ultralytics does, and refuse it where Ultralytics would skip an image or a label."""
        try:
            with quirks.caches_of_numbers():
                dataset = super().build_dataset(img_path, mode, batch)
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(f"data={self.args.data} cannot be used: {one_line(error)}") from error
        data.check_labels(dataset)
        return dataset

    def get_model(
        self, cfg: str | dict[str, Any] | None = None, weights: nn.Module | None = None, verbose: bool = True
    ) -> nn.Module:
        """Rebuild a grafted model from its `yaml`, anything else as Ultralytics does; channels last on a CPU."""
        if not isinstance(cfg, dict) or "grafts" not in cfg:
            model = super().get_model(cfg, weights, verbose)
        else:
            options = {"data_kpt_shape": self.data["kpt_shape"]} if self.args.task == "pose" else {}
            channels, classes = self.data["channels"], self.data["nc"]
            model = MODELS[self.args.task](cfg, channels, classes, verbose and RANK == -1, **options)
            self.set_model_names_for_load(model)
            if weights is not None:
                model.load(weights)
        return model.to(memory_format=torch.channels_last) if self.device.type == "cpu" else model

    def _build_train_pipeline(self) -> None:
        quirks.join_processes_on_cpu(self)  # this is the last step before Ultralytics needs them joined
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

    def _score(self) -> None:
        """COCO's metrics of the averaged weights, on val from its last validation and on test."""
        if self._boxes is None:  # oriented boxes
            if self.recorder:
                self.recorder.scored("val", scores.of_ultralytics(self.validator.metrics))
            return
        for split, dataset in (("val", self.test_loader.dataset), ("test", self._test_set)):
            if dataset is None:
                continue
            if split == "test" or self._validated != self.epoch:
                self._boxes.clear()
                loader, self.validator.dataloader = self.validator.dataloader, self._loader(split)
                plots, self.validator.args.plots = self.validator.args.plots, False
                self.validator(self)
                self.validator.dataloader, self.validator.args.plots = loader, plots
            found = self._boxes.found()
            if self.world_size > 1:
                parts: list[Any] = [None] * self.world_size
                distributed.all_gather_object(parts, found)
                found = {file: each for part in parts for file, each in part.items()}
            if self.recorder:
                self.recorder.scored(split, scores.coco(dataset.labels, found, self.data["names"]))

    def _loader(self, split: str) -> Any:
        if split == "val":
            return self.test_loader
        batch = 2 * max(self.batch_size // max(self.world_size, 1), 1)
        return self.get_dataloader(self.data["test"], batch_size=batch, rank=LOCAL_RANK, mode="val")

    def final_eval(self) -> None:
        """Validate the best checkpoint, and write it as the zoo's own files.

        As in Ultralytics, but the best checkpoint is stripped of the optimiser under another name, the last one when
        all else is done, and processes on CPU validate the best weights together. Before that, the last epoch's
        averaged weights are scored for `run.json`.
        """
        self._score()
        if self.best.exists():
            self._judge_best()
        with torch_distributed_zero_first(LOCAL_RANK):
            if RANK in {-1, 0}:
                last = checkpoint.load(self.last)[0] if self.last.exists() else {}
                _strip(self.best, {"train_results": last.get("train_results")})

    def _judge_best(self) -> None:
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
            if isinstance(model, Grafted):
                model.yaml["imgsz"] = self.args.imgsz
                self._keep(model, self.wdir / "zoo")
                if frozen := quirks.frozen_base(self.args.freeze, model.model):
                    self._keep(model, self.wdir / "adapter", frozen)
        self.epoch += 1  # loggers note the best epoch's result after the last epoch's
        self.run_callbacks("on_fit_epoch_end")
        self.epoch -= 1

    def _keep(self, model: Grafted, folder: Path, adapter: bool | Literal["norm"] = False) -> None:
        """Save the model, or its adapter, with a card and a picture."""
        saved.save(model, folder, adapter=adapter)
        predictions = self.save_dir / "val_batch0_pred.jpg"  # Ultralytics' plot, where plots are on
        if predictions.is_file():
            shutil.copyfile(predictions, folder / cards.PICTURE)
        base_tensors = saved.read_saved(folder).base_tensors
        text = cards.render_folder(model.config, folder, f"local-dir:{folder}", base_tensors)
        write_text(folder / "README.md", text)


class ZooTrainer(GraftTrainer, DetectionTrainer):
    """Ultralytics' trainer of detectors, for models with grafts."""


class ZooSegmentationTrainer(GraftTrainer, SegmentationTrainer):
    """Ultralytics' trainer of instance masks, for models with grafts."""


class ZooPoseTrainer(GraftTrainer, PoseTrainer):
    """Ultralytics' trainer of keypoints, for models with grafts."""


class ZooOBBTrainer(GraftTrainer, OBBTrainer):
    """Ultralytics' trainer of oriented boxes, for models with grafts."""


TRAINERS: dict[str, type[GraftTrainer]] = {
    "detect": ZooTrainer,
    "segment": ZooSegmentationTrainer,
    "pose": ZooPoseTrainer,
    "obb": ZooOBBTrainer,
}
"""The class of each task."""


def _has_bfloat16() -> bool:
    """Whether PyTorch computes bfloat16 on this CPU by AVX-512 or Arm's instructions rather than one by one."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _strip(file: Path, updates: dict[str, Any] | None = None) -> None:
    """Ultralytics' `strip_optimizer`, all or nothing; a file that is not there stays away."""
    if not file.exists():
        return
    checkpoint.load(file)  # which refuses what strip_optimizer would run: a resumed run's folder may be a stranger's
    with replacing(file) as temporary:
        strip_optimizer(file, str(temporary), updates)


def _replace(written: Path, place: Path) -> None:
    """Rename a file into its place once its bytes are on disk."""
    with written.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(written, place)
