"""Trainings as they were recorded: `run.json` of a folder, older folders, and rows of CSV files, all as `Run`."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from zoo import registry
from zoo.errors import ConfigError, DataError, UnknownModelError, one_line
from zoo.files import read_json
from zoo.names import parse
from zoo.report import schema

RECORD = "run.json"

# Settings that decide what is trained; runs that differ in one are not compared.
TRAINING = (
    *("optimizer", "lr0", "lrf", "momentum", "weight_decay", "batch", "nbs", "cos_lr", "amp", "time", "patience"),
    *("warmup_epochs", "warmup_momentum", "warmup_bias_lr", "close_mosaic", "freeze", "fraction", "single_cls"),
    *("classes", "cls_remap", "distill_model", "dis", "quantize"),
    *("rect", "multi_scale", "dropout", "box", "cls", "cls_pw", "dfl", "pose", "kobj", "rle", "angle"),
    *("overlap_mask", "mask_ratio", "hsv_h", "hsv_s", "hsv_v", "bgr", "degrees", "translate"),
    *("scale", "shear", "perspective", "flipud", "fliplr", "mosaic", "mixup", "cutmix", "copy_paste"),
    *("copy_paste_mode", "erasing"),
)
_STATUS = {"complete": "ended"}
_FREEZE: dict[str, bool | str] = {"True": True, "norm": "norm"}
_CSV_METRICS = {"mAP_small": "small", "mAP_medium": "medium", "mAP_large": "large"}
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Run:
    """One training; the fields are those of `run.json`, empty where an older run does not say.

    Attributes:
        source: Its folder, or the CSV file of its row.
        record: Whether `run.json` told all this; otherwise it is an older run, or one of stock Ultralytics.
        gflops_imgsz: Pixels at which `gflops` holds.
        metrics: Split to `mAP50-95`, `mAP50`, `small`, `medium`, `large` and `per_class`; `None` where not a number.
        history: One mapping an epoch: `epoch`, `mAP50-95`, `mAP50`, `loss`, `gates`, `seconds`.
    """

    source: Path
    model: str
    seed: int
    record: bool = False
    status: str = "ended"
    error: str | None = None
    base: str = ""
    task: str = "detect"
    grafts: Sequence[Mapping[str, Any]] = ()
    parameters: int | None = None
    parameters_trained: int | None = None
    gflops: float | None = None
    gflops_imgsz: int | None = None
    parent: Mapping[str, Any] | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    freeze_base: bool | str = False
    imgsz: int | None = None
    width: float | None = None
    epochs: Mapping[str, int | None] = field(default_factory=dict)
    resumed: int = 0
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    gates: Mapping[str, float | None] = field(default_factory=dict)
    images_per_second: float | None = None
    seconds: float | None = None
    machine: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None
    started: str | None = None
    ended: str | None = None

    @property
    def label(self) -> str:
        """The model as a comparison calls it: `yolov8n`, or `yolov8n, width 0.29`."""
        return f"{self.model}, width {self.width:g}" if self.width else self.model

    @property
    def data_key(self) -> str:
        """Equal for equal data: the fingerprint, or what an older run has in its place, the path of its YAML."""
        return str(self.data.get("fingerprint") or self.data.get("yaml") or self.data.get("name") or "")

    @property
    def conditions(self) -> tuple[Any, ...]:
        """What runs share that are compared."""
        planned = self.epochs.get("planned")
        return self.task, self.data_key, self.imgsz, self.freeze_base, planned, tuple(self.shaping.items())

    @property
    def shaping(self) -> dict[str, str]:
        """The settings among `TRAINING`, but `freeze` of a frozen base, whose layers every base numbers otherwise."""
        shaping = [key for key in TRAINING if key in self.settings and not (self.freeze_base and key == "freeze")]
        return {key: str(self.settings[key]) for key in shaping}

    @property
    def place(self) -> str:
        """The last two parts of where it was read: a page that travels says nothing more of the machine."""
        return "/".join(self.source.parts[-2:])

    @property
    def started_from(self) -> str:
        """The weights that training started from, without the path of a file; empty from scratch."""
        source = str((self.parent or {}).get("source") or "")
        return source if source.startswith("hf-hub:") else source.replace("\\", "/").rpartition("/")[2]

    @property
    def start(self) -> str:
        """Equal for equal weights to start from; empty from scratch."""
        parent = self.parent or {}
        return str(parent.get("sha256") or parent.get("source") or "")

    @property
    def identity(self) -> tuple[Any, ...]:
        """What no two ended runs of a comparison share."""
        return self.conditions, self.label, self.start, self.seed

    def score(self, metric: str, split: str) -> float | None:
        """A metric, e.g. `mAP50-95` on `val`; `None` without one, NaN where the training diverged."""
        return self.metrics.get(split, {}).get(metric)


def read(paths: Iterable[str | Path]) -> list[Run]:
    """Collect runs.

    Args:
        paths: Folders of runs, at any depth, and CSV files with the columns `model` and `seed`; CSV files without are
            passed over. A folder's `results.csv` of a sweep adds the jobs that left no folder to read.

    Raises:
        DataError: There are none, or a record is malformed.
    """
    places = [Path(path) for path in paths]
    found: dict[Path, list[Run]] = {}
    for place in places:
        if place.is_dir():
            _read_folder(place, found)
        elif place.is_file():
            found[place.resolve()] = [_from_row(row, place) for row in _rows(place)]
        else:
            raise DataError(f"there is no file or folder {place}.")
    runs = [run for each in found.values() for run in each]
    if not runs:
        raise DataError(f"neither rows with the columns model and seed nor runs are in {', '.join(map(str, places))}.")
    return runs


def load(folder: Path) -> Run:
    """Read the folder of one training.

    Raises:
        DataError: The folder has neither a well-formed `run.json` nor a training of Ultralytics that ended an epoch.
    """
    file = folder / RECORD
    return _from_record(folder, read_json(file, DataError)) if file.is_file() else _from_ultralytics(folder)


def data_name(file: str | Path) -> str:
    """Of the data set of a YAML; `data.yaml`, as almost every export is called, goes by its folder."""
    file = Path(file)
    return (file.stem == "data" and file.parent.name) or file.stem


def folder_name(model: str, seed: int | str) -> str:
    """Of a job; names that `zoo list` prints stay as they are."""
    return f"{re.sub(r'[^A-Za-z0-9_.+@=,()-]', '_', model)}-s{seed}"


def _read_folder(place: Path, found: dict[Path, list[Run]]) -> None:
    folders = {file.parent for name in (RECORD, "args.yaml") for file in place.rglob(name)}
    runs = {folder.resolve(): [load(folder)] for folder in sorted(folders)}
    table = place / "results.csv"
    rows = _rows(table) if table.is_file() else []
    if any(run.record for each in runs.values() for run in each):
        rows = [row for row in rows if not _is_read(row, place, runs)]
    elif rows:
        runs = {}
    found |= runs
    if rows:
        found[table.resolve()] = [_from_row(row, table) for row in rows]


def _is_read(row: Mapping[str, str], sweep: Path, folders: Iterable[Path]) -> bool:
    """Whether the job of a sweep's row left a run in one of these folders."""
    job = (sweep / row.get("data", "") / folder_name(row["model"], row["seed"])).resolve()
    return any(folder.is_relative_to(job) for folder in folders)


def _from_record(folder: Path, record: Any) -> Run:
    file = folder / RECORD
    schema.check(record, file)
    given = {key: value for key, value in record.items() if key != "schema"}
    return Run(source=folder, record=True, gflops_imgsz=given.get("imgsz"), **given)


def _from_ultralytics(folder: Path) -> Run:
    try:
        settings = yaml.load((folder / "args.yaml").read_text(encoding="utf-8"), _Loader)
        with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
            epochs = [{key.strip(): float(value) for key, value in row.items()} for row in csv.DictReader(file)]
        # A run that was resumed after a kill has an epoch twice: the later one counts.
        history = [
            {
                "epoch": int(row["epoch"]),
                "mAP50-95": row["metrics/mAP50-95(B)"],
                "mAP50": row["metrics/mAP50(B)"],
                "loss": sum(value for key, value in row.items() if key.startswith("train/")),
            }
            for _, row in sorted({int(row["epoch"]): row for row in epochs}.items())
        ]
        best = max(history, key=lambda epoch: epoch["mAP50-95"])
        data = Path(str(settings["data"]))
        config = folder / "weights" / "zoo" / "config.json"
        own = read_json(config, DataError) if config.is_file() else {}
        described = _described(own.get("name") or Path(str(settings["model"])).stem, own.get("width"))
        return Run(
            source=folder,
            seed=settings["seed"],
            data={"name": data_name(data), "yaml": str(data)},
            settings=settings,
            imgsz=settings["imgsz"],
            epochs={"planned": settings.get("epochs"), "done": len(history)},
            metrics={"val": {"mAP50-95": best["mAP50-95"], "mAP50": best["mAP50"]}},
            history=history,
            **described,
        )
    except DataError:
        raise
    except (OSError, ValueError, KeyError, AttributeError, TypeError, yaml.YAMLError) as error:
        raise DataError(f"{folder} is not the folder of a training that ended an epoch: {error}.") from error


def _rows(file: Path) -> list[dict[str, str]]:
    found = []
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            if not {"model", "seed"} <= set(reader.fieldnames or ()):
                return []
            for row in reader:
                where = f"{file}, line {reader.line_num}"
                if None in row:
                    raise DataError(f"{where}: it has more cells than the first line has columns.")
                if empty := [key for key in ("model", "seed") if not row[key]]:
                    raise DataError(f"{where}: {' and '.join(empty)} must not be empty.")
                found.append({key: value for key, value in row.items() if value})
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read: {one_line(error)}.") from error
    return found


def _from_row(row: Mapping[str, str], file: Path) -> Run:
    def wrong(column: str, wanted: str) -> DataError:
        of = f"{column} of {row['model']}, seed {row['seed']}"
        return DataError(f"{file}: {of}, is {row[column]!r:.80}, not {wanted}.")

    def number(column: str) -> float | None:
        try:
            return float(row[column]) if column in row else None
        except ValueError:
            raise wrong(column, "a number") from None

    def mapping(column: str) -> dict[str, Any]:
        try:
            found = json.loads(row.get(column, "{}"))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise wrong(column, "a JSON object")
        return found

    def whole(column: str) -> int | None:
        value = number(column)
        return None if value is None or not math.isfinite(value) else int(value)

    if (seed := number("seed")) is None or seed % 1:  # NaN too
        raise wrong("seed", "a whole number")
    metrics: dict[str, dict[str, float | None]] = {}
    for column in row:
        split, _, metric = column.partition("_") if column.startswith(("val_", "test_")) else ("val", "_", column)
        if metric.startswith("mAP"):
            metrics.setdefault(split, {})[_CSV_METRICS.get(metric, metric)] = number(column)
    seconds, weights = number("hours"), row.get("base_weights")
    return Run(
        source=file,
        seed=int(seed),
        status=_STATUS.get(row.get("status", "ended"), row.get("status", "ended")),
        error=row.get("error"),
        parameters=whole("params"),
        parameters_trained=whole("params_trained"),
        gflops=number("gflops_640"),
        gflops_imgsz=640,
        parent={"source": weights, "sha256": None, "kind": "base"} if weights else None,
        data={"name": row.get("data", file.stem)},
        freeze_base=_FREEZE.get(row.get("freeze_base", ""), False),
        imgsz=whole("imgsz"),
        epochs={"planned": whole("planned_epochs"), "done": whole("epochs")},
        metrics=metrics,
        gates=mapping("gamma_norms"),
        seconds=None if seconds is None else 3600 * seconds,
        machine=row.get("machine", ""),
        versions=mapping("versions"),
        commit=row.get("commit"),
        **_described(row["model"], number("width")),
    )


def _described(model: str, width: float | None) -> dict[str, Any]:
    """What the registry knows of a model that an older run only names."""
    try:
        config = registry.get_config(model)
        model = model if parse(model).tag else config.name  # options in the order of their names
    except (UnknownModelError, ConfigError):
        config = None
    grafts = [{"position": graft.position, "block": graft.block} for graft in config.grafts] if config else []
    return {"model": model, "width": width, "base": config.base_name if config else "", "grafts": grafts}
