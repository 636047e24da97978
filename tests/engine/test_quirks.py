"""Each bend of Ultralytics is still needed: these tests fail on the day when it is not, and then it goes."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from packaging.version import Version
from ultralytics.data import utils as data_utils
from ultralytics.engine import exporter, tuner
from ultralytics.engine import trainer as ultralytics_trainer
from ultralytics.utils import torch_utils
from ultralytics.utils.checks import check_font

import zoo
from tests.engine.conftest import write_data
from zoo.engine import quirks
from zoo.engine.data import read

pytestmark = pytest.mark.fast

CPU = torch.device("cpu")
SWITCHES = {"OMP_NUM_THREADS", "YOLO_AUTOINSTALL", "YOLO_OFFLINE"}


def _reports_its_use() -> bool:
    try:
        return sys.platform == "linux" and Version(version("onnxruntime")) >= Version("1.29")
    except PackageNotFoundError:
        return False


def run(code: str, **environment: str) -> str:
    """Output of Python code in a process of its own."""
    clean = {key: value for key, value in os.environ.items() if key not in SWITCHES}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=clean | environment, check=True)
    return done.stdout.strip()


def test_importing_the_quirks_bends_nothing():
    code = """
import sys
from ultralytics.engine import trainer
from ultralytics.data import utils
before = trainer.autocast, trainer.MultiTrainer, utils.YAML
import zoo.engine.yolo, zoo.engine.trainer
print(before == (trainer.autocast, trainer.MultiTrainer, utils.YAML), "openvino_telemetry" in sys.modules)
"""
    assert run(code).splitlines()[-1] == "True False"


def test_bfloat16_on_cpu():
    with pytest.raises(RuntimeError, match="bfloat16 autocast requires CUDA"):
        torch_utils.autocast(torch.bfloat16, "cpu")
    stock = ultralytics_trainer.autocast
    with pytest.raises(ValueError), quirks.bfloat16_on_cpu(CPU):
        with ultralytics_trainer.autocast(torch.bfloat16, "cpu"):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        raise ValueError
    assert ultralytics_trainer.autocast is stock
    with quirks.bfloat16_on_cpu(torch.device("cuda")):
        assert ultralytics_trainer.autocast is stock


def test_trials_trained_by():
    """Ultralytics' own trials start its command, for which a graft is an unknown layer."""
    source = Path(tuner.__file__).read_text()
    assert "MultiTrainer(None," in source, "tune gives no trainer to its trials"
    stock, seen = ultralytics_trainer.MultiTrainer, []
    with quirks.trials_trained_by(lambda: dict):
        found = ultralytics_trainer.MultiTrainer(None, {"data": []}, "model")
        seen.append(found.trainer)
    assert seen == [dict] and ultralytics_trainer.MultiTrainer is stock


def test_data_beside_its_yaml(tmp_path, monkeypatch):
    file = write_data(tmp_path / "set", images=1)
    file.write_text(file.read_text().replace(f"path: {file.parent}", "path: ."))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError):
        data_utils.check_det_dataset(str(file), autodownload=False)
    stock = data_utils.YAML
    with quirks.data_beside_its_yaml():
        found = data_utils.check_det_dataset(str(file), autodownload=False)
    assert data_utils.YAML is stock
    assert found["train"] == str(file.parent / "images" / "train")


@pytest.mark.parametrize("root", ["set", "../set"])
def test_a_path_that_is_not_beside_the_yaml_is_looked_for_where_ultralytics_looks(root, tmp_path, monkeypatch):
    file = write_data(tmp_path / "set", images=1)
    moved = tmp_path / "yamls" / "data.yaml"
    moved.parent.mkdir()
    moved.write_text(file.read_text().replace(f"path: {file.parent}", f"path: {root}"))
    monkeypatch.chdir(tmp_path)
    with quirks.data_beside_its_yaml():
        assert data_utils.check_det_dataset(str(moved), autodownload=False)["train"] == str(
            file.parent / "images/train"
        )


def test_calibrated_on():
    """Ultralytics' exporter falls back on data of its own, and reads them by a function that downloads."""
    source = Path(exporter.__file__).read_text()
    assert "self.args.data = DEFAULT_CFG.data or TASK2DATA" in source, "no data of its own"
    assert "data = check_det_dataset(self.args.data, split=split)" in source, "not read by what is bent"
    stock = exporter.check_det_dataset
    with quirks.calibrated_on(lambda: {"nc": 1}):
        assert exporter.check_det_dataset("coco8.yaml", split="val") == {"nc": 1}
    assert exporter.check_det_dataset is stock


def test_hide_openvino_telemetry():
    pytest.importorskip("openvino_telemetry")
    report = (
        "import sys, openvino; print('openvino_telemetry' in sys.modules and bool(sys.modules['openvino_telemetry']))"
    )
    assert run(report) == "True", "OpenVINO looks for the package on import"
    hidden = "from zoo.engine.quirks import hide_openvino_telemetry as hide; hide(); "
    assert run(hidden + report).splitlines()[-1] == "False"


def test_provide_font(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("ultralytics.utils.checks.USER_CONFIG_DIR", tmp_path)
    monkeypatch.setattr("ultralytics.utils.downloads.safe_download", lambda **how: asked.append(how["url"]))
    monkeypatch.setattr("ultralytics.utils.downloads.is_url", lambda *_, **__: True)
    monkeypatch.setattr(quirks, "USER_CONFIG_DIR", tmp_path)
    monkeypatch.setattr("matplotlib.font_manager.fontManager.ttflist", [])
    check_font("first/Arial.ttf")  # it remembers what it found by this path, of which the name counts
    assert len(asked) == 1, "Ultralytics downloads a font"
    quirks.provide_font()
    assert check_font("second/Arial.ttf") == tmp_path / "Arial.ttf" and len(asked) == 1


def test_reading_data_asks_for_no_font(data, tmp_path, monkeypatch):
    """Which comes before a model is built."""
    monkeypatch.setattr("ultralytics.utils.checks.USER_CONFIG_DIR", tmp_path)
    monkeypatch.setattr(quirks, "USER_CONFIG_DIR", tmp_path)
    monkeypatch.setattr("matplotlib.font_manager.fontManager.ttflist", [])
    monkeypatch.setattr("ultralytics.utils.downloads.is_url", lambda url, **_: pytest.fail(f"{url} was looked up"))
    check_font.__wrapped__.cache_clear()  # it remembers what it found
    assert read(data)["nc"] == 3


def test_write_below_working_directory(tmp_path, monkeypatch):
    from ultralytics.cfg import get_cfg, get_save_dir

    monkeypatch.chdir(tmp_path)
    given = {"task": "detect", "mode": "val"}
    assert not get_save_dir(get_cfg(overrides=given)).is_relative_to(tmp_path), "Ultralytics writes below its runs_dir"
    assert get_save_dir(get_cfg(overrides=quirks.write_below_working_directory(given, "val"))) == tmp_path / "runs/val"
    own = quirks.write_below_working_directory({**given, "project": "mine", "name": "first"}, "val")
    assert get_save_dir(get_cfg(overrides=own)) == tmp_path / "mine/first"
    assert quirks.write_below_working_directory({"save_dir": "here"}, "val") == {"save_dir": "here"}


def test_threads_are_those_of_the_variable():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    share = "from zoo.engine.quirks import thread_share; print(thread_share())"
    assert run("import ultralytics, torch; print(torch.get_num_threads())") == "1", "Ultralytics leaves one thread"
    assert run("import zoo; " + share) == f"{cores}"
    assert run("import zoo; " + share, OMP_NUM_THREADS="1") == "1"
    assert run("import zoo; " + share, OMP_NUM_THREADS="3,2") == "3"
    assert run("import ultralytics, zoo; " + share) == f"{cores}", "1 that Ultralytics has set says nothing"


@pytest.mark.parametrize(("processes", "threads"), [("1", 3), ("2", 1), ("8", 1)])
def test_use_thread_share(processes, threads, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr(zoo, "OMP_NUM_THREADS", None)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    before = torch.get_num_threads()
    try:
        quirks.use_thread_share(SimpleNamespace(device=CPU))
        assert torch.get_num_threads() == threads
        monkeypatch.setattr(zoo, "OMP_NUM_THREADS", 2)
        quirks.use_thread_share(SimpleNamespace(device=CPU))
        assert torch.get_num_threads() == 2, "what the user says counts"
    finally:
        torch.set_num_threads(before)


def test_choose_precision(monkeypatch):
    source = Path(ultralytics_trainer.__file__).read_text()
    assert 'self.args.amp != "bf16" and RANK' in source, "amp=True is checked with a downloaded model, bf16 is not"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    for device, asked, chosen in (("cuda", True, "bf16"), ("cuda", False, False), ("cpu", True, True)):
        trainer = SimpleNamespace(device=torch.device(device), args=SimpleNamespace(amp=asked))
        quirks.choose_precision(trainer)
        assert trainer.args.amp == chosen


def test_count_all_processes(monkeypatch):
    source = Path(ultralytics_trainer.__file__).read_text()
    assert 'world_size = len(self.args.device.split(","))' in source, "Ultralytics counts this machine's devices"
    monkeypatch.setattr(quirks, "RANK", 3)
    monkeypatch.setattr(quirks, "WORLD_SIZE", 16)
    trainer = SimpleNamespace(device=torch.device("cuda"), world_size=8)
    quirks.count_all_processes(trainer)
    assert trainer.world_size == 16


def test_join_processes_on_cpu(monkeypatch):
    """That two processes train together is in test_processes; here, that Ultralytics joins none on CPU."""
    source = Path(ultralytics_trainer.__file__).read_text()
    assert "device_type if device_type in" in source and 'else "cuda"' in source
    joined = []
    monkeypatch.setattr(quirks.distributed, "init_process_group", joined.append)
    monkeypatch.setattr(
        quirks, "DistributedDataParallel", type("Joined", (), {"__init__": lambda self, model, **_: None})
    )
    trainer = SimpleNamespace(device=CPU, model="model", world_size=0, amp=True)
    quirks.join_processes_on_cpu(trainer)
    assert not joined, "a process alone is not joined"
    monkeypatch.setattr(quirks, "RANK", 0)
    quirks.join_processes_on_cpu(trainer)
    quirks.join_processes_on_cpu(trainer)
    assert joined == ["gloo"] and not trainer.amp


def test_all_but_norms():
    """Ultralytics freezes a layer whole, statistics included; by parts, everything but the batch norms."""
    layers = zoo.create("yolov8n").model[:-1]
    frozen = quirks.all_but_norms(layers)
    own = {name for name, _ in layers.named_parameters()}
    kept = {name for name in own if not any(f"{part}." in name for part in frozen)}
    norms = {name for name, part in layers.named_modules() if isinstance(part, torch.nn.BatchNorm2d)}
    assert kept == {f"{name}.{kind}" for name in norms for kind in ("weight", "bias")} and norms
    assert quirks.frozen_base(frozen, torch.nn.Sequential(*layers, torch.nn.Identity())) == "norm"
    assert quirks.frozen_base(list(range(22)), zoo.create("yolov8n").model) is True
    assert quirks.frozen_base(10, layers) is False and quirks.frozen_base([0], layers) is False


def test_cause_of_unreadable(tmp_path):
    from PIL import Image

    (tmp_path / "broken.png").write_bytes(b"\x89PNG junk")
    with pytest.raises(Exception, match=r"pi.heif") as caught:
        Image.open(tmp_path / "broken.png")  # which Ultralytics has replaced
    assert quirks.cause_of_unreadable(str(caught.value)) == "it cannot be decoded as an image"
    assert quirks.cause_of_unreadable("labels require 5 columns") == "labels require 5 columns"


def test_offline_switches():
    """Set before Ultralytics is imported, which would otherwise look up names and install packages by itself."""
    asked = """
import socket
seen = []
def refuse(*where):
    seen.append(where)
    raise OSError
socket.getaddrinfo = refuse
FIRST
from ultralytics.utils import AUTOINSTALL
print(len(seen) > 0, AUTOINSTALL)
"""
    assert run(asked.replace("FIRST", "")) == "True True"
    assert run(asked.replace("FIRST", "import zoo")) == "False False"


@pytest.mark.parametrize(("setting", "offline"), [(None, "False"), ("1", "True"), ("yes", "True"), ("0", "False")])
def test_a_child_takes_only_a_user_s_setting_for_one(setting, offline):
    child = "import zoo; from ultralytics.utils import ONLINE; print(zoo.OFFLINE, ONLINE)"
    code = f"import zoo, subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    given = {} if setting is None else {"YOLO_OFFLINE": setting}
    assert run(code, **given).split()[0] == offline
    assert setting == "0" or run(code, **given).split()[1] == "False"


@pytest.mark.skipif(not _reports_its_use(), reason="this ONNX Runtime reports nothing, or is not installed")
def test_onnx_runtime_keeps_to_itself(tmp_path):
    """It reports its use to its makers from its import on, under a number of this machine that it keeps at home."""
    clean = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}  # it is silent in a CI

    def files_at_home(code: str, home: Path) -> list[Path]:
        home.mkdir()
        environment = clean | {"HOME": str(home), "HTTPS_PROXY": "http://127.0.0.1:9"}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        return [path for path in home.rglob("*") if "onnxruntime" in str(path)]

    assert files_at_home("import onnxruntime", tmp_path / "without")
    assert not files_at_home("import zoo, onnxruntime", tmp_path / "with")
