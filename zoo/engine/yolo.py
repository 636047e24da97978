"""`zoo.YOLO`: the Ultralytics engine on a zoo model, with the grafts alive through every rebuild."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
import ultralytics
from torch import nn
from ultralytics.cfg import DEFAULT_CFG_DICT
from ultralytics.engine.validator import BaseValidator
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils import YAML
from ultralytics.utils.checks import check_yaml

from zoo.detector import CLASS_BRANCHES, MODELS
from zoo.engine import classes, data, parent, quirks
from zoo.engine.settings import TRAIN_ONLY, check_device, check_has_data, check_settings
from zoo.engine.trainer import TRAINERS
from zoo.errors import FormatError, OptionError, SourceError
from zoo.factory import create
from zoo.names import parse
from zoo.weights import checkpoint


class YOLO(ultralytics.YOLO):
    """The Ultralytics engine on a zoo model: `train`, `val`, `predict`, `track`, `export`, `benchmark`, `tune`.

    A name with a tag loads that tag's weights; without one they are random, unless `pretrained=True` or `base_weights`
    is given. A model without weights is initialised by `train(seed=...)`: under one seed, a grafted model and its plain
    base start from the same stock weights.

    Args:
        model: Anything `zoo.create` takes, or a file that `ultralytics.YOLO` takes.
        task: As in `ultralytics.YOLO`.
        verbose: As in `ultralytics.YOLO`.
        trust: Run whatever `.pt` files hold that this object opens, now or later; for files of your own that need
            more than tensors, Ultralytics' layers, the zoo's and those that you registered.
        **options: Passed to `zoo.create`.

    Raises:
        ZooError: As `zoo.create`.
    """

    def __init__(
        self,
        model: str | Path = "yolov8n_dattn",
        task: str | None = None,
        verbose: bool = False,
        *,
        trust: bool = False,
        **options: Any,
    ) -> None:
        quirks.provide_font()
        quirks.hide_openvino_telemetry()
        self._create_options = options
        self._trust = trust
        with checkpoint.opening(trust=trust):
            super().__init__(model, task=task, verbose=verbose)

    @property
    def task_map(self) -> dict[str, dict[str, Any]]:
        """Ultralytics' table with the zoo's model and trainer for the tasks that it grafts."""
        table = super().task_map
        ours = {task: {**table[task], "model": MODELS[task], "trainer": TRAINERS[task]} for task in MODELS}
        return {**table, **ours}

    def train(self, trainer: type[DetectionTrainer] | None = None, **settings: Any) -> Any:
        """Train as Ultralytics does, after a look at the options.

        Args:
            trainer: Another trainer than the zoo's.
            **settings: Ultralytics' training settings, and `freeze_base=True` to train the grafts and the head alone:
                every stock layer before the head keeps its weights and its batch statistics; with `"norm"` the batch
                norms of these layers go on learning, too. It is written down as Ultralytics' own `freeze`, so it
                survives resuming and distributed training. `amp="bf16"` also works on
                a CPU: 1.8 times faster steps where it has AVX512-BF16, half as fast as float32 on AVX-512 without, and
                many times slower still below that.

        Returns:
            Ultralytics' metrics; one a data set when `data` is a list.

        Raises:
            OptionError: A setting is unknown or impossible, the device does not exist, or there is nothing to resume.
            DataError: The data YAML, an image or a label is unusable.
        """
        self._check_is_pytorch_model()
        check_settings(settings, also=TRAIN_ONLY)
        check_device(settings.get("device"))
        if freeze_base := settings.pop("freeze_base", False):
            if settings.get("freeze") is not None:
                raise OptionError("freeze and freeze_base exclude each other; freeze_base freezes all but the head.")
            if freeze_base not in (True, "norm"):
                raise OptionError(f"freeze_base={freeze_base!r} must be True or 'norm'.")
            layers = self.model.model[:-1]
            settings["freeze"] = quirks.all_but_norms(layers) if freeze_base == "norm" else list(range(len(layers)))
        if settings.get("pretrained") is True and self.overrides.get("pretrained") is False:
            raise OptionError(
                f"{self.model_name} was built without weights; load them first: "
                f"zoo.YOLO({self.model_name!r}, pretrained=True), or base_weights=PATH."
            )
        if settings.get("resume"):
            self._check_resume(settings["resume"])
        else:
            self.model.yaml["parent"] = parent.of(
                str(self.overrides["model"]), self._create_options, self.model, settings.get("pretrained")
            )
        settings = quirks.write_below_working_directory(settings, "train")
        with checkpoint.opening(trust=self._trust):
            return super().train(trainer=trainer or self._smart_load("trainer"), **settings)

    def val(self, validator: type[BaseValidator] | None = None, **settings: Any) -> Any:
        """Validate as Ultralytics does, on data of the model's own classes.

        Args:
            validator: Another validator than the task's.
            **settings: Ultralytics' validation settings; `classes="match"` scores the classes that weights and data
                call alike, whatever their numbers.

        Raises:
            DataError: The data have other classes than the weights, or cannot be read.
            OptionError: The device does not exist, or there are no data.
        """
        check_device(settings.get("device"))
        settings["data"] = settings.get("data") or self.overrides.get("data")
        names = dict(sorted(self._read_data(settings).get("names", {}).items()))
        with checkpoint.opening(trust=self._trust), quirks.data_beside_its_yaml(), quirks.caches_of_numbers():
            if names and not settings.get("single_cls"):
                if settings.get("classes") == classes.MATCH:
                    found = classes.matched(self.names, names)
                    settings["classes"] = sorted(set(found.values()))
                    validator = classes.validator_of(validator or self._smart_load("validator"), found, names)
                else:
                    classes.refuse_others(self.names, names)
            return super().val(validator, **quirks.write_below_working_directory(settings, "val"))

    def predict(self, *args: Any, **settings: Any) -> Any:
        """Predict as Ultralytics does; what is saved goes to `./runs/predict` unless `project` says otherwise.

        Raises:
            OptionError: The device does not exist, or a tracker would open a model of its own.
        """
        check_device(settings.get("device"))
        verb = settings.get("mode", "predict")
        if verb == "track" and settings.get("tracker"):
            self._check_tracker(**settings)
        return super().predict(*args, **quirks.write_below_working_directory(settings, verb))

    def export(self, **settings: Any) -> str:
        """Export as Ultralytics does.

        Raises:
            DataError: The data of a calibration cannot be read.
            OptionError: The device does not exist; `format="engine"` needs a GPU; a calibration has no data.
        """
        check_device(0 if settings.get("format") == "engine" else settings.get("device"))
        calibration = quirks.calibrated_on(lambda: self._read_data(settings))
        with checkpoint.opening(trust=self._trust), quirks.caches_of_numbers(), calibration:
            return super().export(**settings)

    def tune(self, *args: Any, **settings: Any) -> Any:
        """Search hyperparameters as Ultralytics does, each trial in this process with the zoo's trainer.

        Ultralytics starts its own command for every trial, which would refuse the grafts.

        Raises:
            OptionError: The device does not exist.
        """
        check_device(settings.get("device"))
        settings = quirks.write_below_working_directory(settings, "tune")
        trials = quirks.trials_trained_by(lambda: self._smart_load("trainer"))
        with checkpoint.opening(trust=self._trust), trials, quirks.data_beside_its_yaml():
            return super().tune(*args, **settings)

    def load(self, weights: str | Path = "yolo26n.pt") -> YOLO:
        """Take over the matching tensors of a checkpoint, as Ultralytics does."""
        with checkpoint.opening(trust=self._trust):
            return super().load(weights)

    def benchmark(self, data: str | None = None, *args: Any, **settings: Any) -> Any:
        """Compare the export formats, as Ultralytics does.

        Raises:
            DataError: The data cannot be read.
            OptionError: The device does not exist, or there are no data.
        """
        check_device(settings.get("device"))
        self._read_data({"data": data})
        with checkpoint.opening(trust=self._trust), quirks.data_beside_its_yaml(), quirks.caches_of_numbers():
            return super().benchmark(data, *args, **settings)

    def _read_data(self, settings: dict[str, Any]) -> dict[str, Any]:
        """What a verb works on, as `data.read` describes it; empty where that is for Ultralytics to read."""
        check_has_data(settings)
        if self.task not in MODELS or str(settings["data"]).endswith(".ndjson"):
            return {}
        return data.read(settings["data"], settings.get("split") or "val")

    def _check_tracker(self, tracker: str, nms: bool | None = None, **_: Any) -> None:
        """Refuse one that recognises objects by a model of its own, which Ultralytics opens whole, or downloads."""
        described = YAML.load(check_yaml(tracker))
        if not described.get("with_reid"):
            return
        own = described.get("model", "auto")
        if own != "auto" and self._trust:
            return
        maps = isinstance(self.model, nn.Module) and getattr(self.model.model[-1], "cv2", None) is not None
        if own != "auto" or not maps or nms is False:
            raise OptionError(
                f"tracker={tracker}: with_reid, with model: {own}, opens a second model. Set with_reid: False; or, if "
                "you trust a model of your own, name it there and give trust=True."
            )

    def _check_resume(self, resume: Any) -> None:
        """Ultralytics starts afresh where it cannot resume, and resumes its latest run where a file is missing."""
        if resume is True:
            if not self.ckpt or self.ckpt.get("epoch", -1) < 0 or self.ckpt.get("optimizer") is None:
                raise OptionError(
                    f"{self.model_name} is not a checkpoint of an unfinished run; resume with "
                    'zoo.YOLO("<run>/weights/last.pt").train(resume=True).'
                )
        elif not Path(resume).is_file():
            raise OptionError(f"resume={resume}: there is no such checkpoint.")
        else:
            with checkpoint.opening(trust=self._trust):
                saved, _ = load_checkpoint(resume)
            if _shapes(saved) != _shapes(self.model):
                raise OptionError(
                    f"resume={resume} holds another architecture than {self.model_name}: "
                    f"{saved.yaml.get('name', 'a stock model')}. Resume it with "
                    f"zoo.YOLO({str(resume)!r}).train(resume=True)."
                )

    def _load(self, weights: str, task: str | None = None) -> None:
        if parse(weights).kind == "file":
            ignored = [key for key, value in self._create_options.items() if key != "pretrained" and value is not None]
            if ignored:
                raise OptionError(
                    f"{weights} is a checkpoint, which {', '.join(ignored)} would not change. Training on other "
                    f"classes gives it another head; zoo.create(NAME, base_weights={weights!r}, ...) takes its weights "
                    "into a model of yours."
                )
            try:
                super()._load(weights, task)
            except FileNotFoundError as error:
                raise SourceError(f"there is no file {weights}.") from error
            except (EOFError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
                raise FormatError(
                    f"{weights} is no checkpoint of Ultralytics: it is empty, truncated or another kind of file."
                ) from error
            return
        if parse(weights).tag and not self._create_options.get("base_weights"):
            self._create_options.setdefault("pretrained", True)
        self.model = create(weights, **self._create_options)
        has_weights = parse(weights).kind in {"local-dir", "hf-hub"} or any(
            self._create_options.get(key) for key in ("pretrained", "base_weights")
        )
        self.ckpt = {"model": self.model}  # makes train() rebuild from this model rather than look for a file
        self.overrides = {
            "model": weights,
            "task": self.model.task,
            "pretrained": has_weights,
            "imgsz": self.model.yaml["imgsz"],
        }
        self.model.args = {**DEFAULT_CFG_DICT, **self.overrides}
        self.model.pt_path = _checkpoint_name(weights)
        self.task = self.model.task
        self.model_name = weights


def _shapes(model: Any) -> dict[str, torch.Size]:
    """What distinguishes architectures, whatever their classes."""
    head = f"model.{len(model.model) - 1}."
    classes = tuple(f"{head}{branch}." for branch in (*CLASS_BRANCHES, "proto.semseg"))
    return {key: tensor.shape for key, tensor in model.state_dict().items() if not key.startswith(classes)}


def _checkpoint_name(name: str) -> str:
    """The file that Ultralytics would have loaded: exports are written beside it, under its stem."""
    found = parse(name)
    if found.kind == "local-dir":
        return str(found.path / "model.pt")
    return f"{Path(found.repo).name if found.kind == 'hf-hub' else found}.pt"
