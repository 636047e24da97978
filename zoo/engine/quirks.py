"""Every place where Ultralytics is bent rather than used: one function each, which says why.

Nothing is bent by importing this module. `tests/engine/test_quirks.py` has a test of each that fails once Ultralytics
no longer needs it. The switches that keep it off the network have to be set before its import, by `zoo/__init__.py`.
"""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from ultralytics.data import dataset
from ultralytics.data import utils as data_utils
from ultralytics.engine import trainer as ultralytics_trainer
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import RANK, USER_CONFIG_DIR, WORLD_SIZE, YAML

import zoo
from zoo.files import replacing


@contextmanager
def bfloat16_on_cpu(device: torch.device) -> Iterator[None]:
    """Let a training on CPU use bfloat16, which Ultralytics refuses there though many processors compute it."""
    stock = ultralytics_trainer.autocast
    if device.type == "cpu":
        ultralytics_trainer.autocast = lambda dtype, device: torch.autocast(device, torch.bfloat16, bool(dtype))
    try:
        yield
    finally:
        ultralytics_trainer.autocast = stock


@contextmanager
def trials_trained_by(trainer: Callable[[], type[BaseTrainer]]) -> Iterator[None]:
    """Have `tune` run its trials in this process; Ultralytics starts its own command, which would refuse the grafts."""
    stock = ultralytics_trainer.MultiTrainer
    ultralytics_trainer.MultiTrainer = lambda _, *rest: stock(trainer(), *rest)
    try:
        yield
    finally:
        ultralytics_trainer.MultiTrainer = stock


class _Numbers(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "numpy" and name in {
            "_reconstruct",
            "_frombuffer",
            "ndarray",
            "dtype",
            "scalar",
        }:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a cache of labels")


def _load_cache(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            read(file)
            return _Numbers(file).load().item()
    except Exception as error:  # whatever an unpickler may raise on bytes from elsewhere
        raise FileNotFoundError(f"{path} is no cache of labels: {error}") from error


@contextmanager
def caches_of_numbers() -> Iterator[None]:
    """Read the caches beside labels, which are pickles, without running what they hold; Ultralytics reads any pickle.

    One that holds more than arrays and plain values counts as absent, and Ultralytics writes it anew.
    """
    stock = dataset.load_dataset_cache_file
    dataset.load_dataset_cache_file = _load_cache
    try:
        yield
    finally:
        dataset.load_dataset_cache_file = stock


@contextmanager
def calibrated_on(read: Callable[[], dict[str, Any]]) -> Iterator[None]:
    """Have an INT8 export look at the images that `read` describes, unless that is nothing.

    Where no data are given, Ultralytics takes a data set of its own and downloads it; a YAML may have it download, or
    run, anything.
    """
    from ultralytics.engine import exporter

    stock = exporter.check_det_dataset
    exporter.check_det_dataset = lambda file, **options: read() or stock(file, **options)
    try:
        yield
    finally:
        exporter.check_det_dataset = stock


class _BesideTheFile(YAML):
    @classmethod
    def load(cls, file: str | Path, append_filename: bool = False) -> dict[str, Any]:
        found = super().load(file, append_filename)
        root = found.get("path") if isinstance(found, dict) else None
        if isinstance(root, str) and not Path(root).is_absolute():
            beside = Path(file).absolute().parent / root
            if beside.is_dir():
                found["path"] = str(beside.resolve())
        return found


@contextmanager
def data_beside_its_yaml() -> Iterator[None]:
    """Look for a relative `path` of a data YAML beside the file first.

    Ultralytics looks in the working directory and in its own folder of data sets, so that `path: .` works from one
    place alone.
    """
    stock = data_utils.YAML
    data_utils.YAML = _BesideTheFile
    try:
        yield
    finally:
        data_utils.YAML = stock


def hide_openvino_telemetry() -> None:
    """Keep OpenVINO from reporting its use over the network: it does from its import on, if it finds the package."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def provide_font() -> None:
    """Place a font that matplotlib ships where Ultralytics looks before it downloads one."""
    bundled = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    for name in ("Arial.ttf", "Arial.Unicode.ttf"):
        target = USER_CONFIG_DIR / name
        if not target.exists():
            with replacing(target) as temporary:
                shutil.copyfile(bundled, temporary)


def write_below_working_directory(settings: dict[str, Any], verb: str) -> dict[str, Any]:
    """Send what a verb writes to `./runs/<verb>` unless the settings say otherwise.

    Ultralytics writes below the folder that its global settings file names, also into another checkout.

    Args:
        settings: Of the verb; a relative `project` is one of the working directory.
        verb: Name of the run's folder where no `name` is given.

    Returns:
        The settings with an absolute `project`.
    """
    if settings.get("save_dir"):
        return settings
    project = Path(settings.get("project") or "runs").absolute()
    return {**settings, "project": str(project), "name": settings.get("name") or verb}


def thread_share() -> int:
    """Threads for one training on this machine: `OMP_NUM_THREADS`, or the cores over the processes of a torchrun.

    Importing Ultralytics sets the variable to 1 where it is not set; what counts is what it was before.
    """
    if zoo.OMP_NUM_THREADS is not None:
        return zoo.OMP_NUM_THREADS
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def use_thread_share(trainer: BaseTrainer) -> None:
    """Undo the one thread that Ultralytics leaves a training on CPU; a callback of `on_pretrain_routine_end`."""
    if trainer.device.type == "cpu":
        torch.set_num_threads(thread_share())


def choose_precision(trainer: BaseTrainer) -> None:
    """Train in bfloat16 where the GPU has it: as fast as float16, and no model is downloaded to check it."""
    native = trainer.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if native and trainer.args.amp is True:
        trainer.args.amp = "bf16"


def count_all_processes(trainer: BaseTrainer) -> None:
    """Count the processes of all machines; Ultralytics counts the devices of this one."""
    if RANK != -1 and trainer.device.type == "cuda":
        trainer.world_size = WORLD_SIZE


def join_processes_on_cpu(trainer: BaseTrainer) -> None:
    """Join the processes of a torchrun on CPU by gloo; Ultralytics joins processes on accelerators alone."""
    if RANK != -1 and trainer.device.type == "cpu" and not isinstance(trainer.model, DistributedDataParallel):
        distributed.init_process_group("gloo")
        trainer.world_size = WORLD_SIZE
        trainer.amp = False
        trainer.model = DistributedDataParallel(trainer.model, broadcast_buffers=False, find_unused_parameters=True)


def all_but_norms(layers: nn.Module) -> list[str]:
    """What Ultralytics' `freeze` has to list for the batch norms of some layers to go on learning.

    It freezes layers whole, and matches what it is given against parameter names below `model.`.

    Args:
        layers: The layers, of a model's `model`, e.g. all before the head.
    """
    return [
        name
        for name, part in layers.named_modules()
        if not isinstance(part, nn.modules.batchnorm._BatchNorm) and any(True for _ in part.parameters(recurse=False))
    ]


def cause_of_unreadable(message: str) -> str:
    """What is wrong with an image: Ultralytics complains of the last decoder it tries, which is not installed."""
    return "it cannot be decoded as an image" if "pi_heif" in message or "pi-heif" in message else message


def frozen_base(freeze: Any, layers: nn.Sequential) -> bool | Literal["norm"]:
    """Whether `freeze` freezes all before the head: `True`, `"norm"` where batch norms are left out, else `False`."""
    if not isinstance(freeze, list):
        return False
    if freeze == list(range(len(layers) - 1)):
        return True
    return "norm" if freeze == all_but_norms(layers[:-1]) else False
