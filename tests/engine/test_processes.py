"""Two processes on one machine train one model."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from ultralytics.nn.tasks import load_checkpoint

import zoo
from tests.engine.conftest import write_data

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch without torch.distributed")


@pytest.fixture
def start(tmp_path):
    """A model to start from: processes seed themselves differently."""
    torch.manual_seed(0)
    model = zoo.create("yolov8n_dattn", num_classes=3)
    torch.nn.init.constant_(model.grafts["9"].gamma, 0.1)
    zoo.save(model, tmp_path / "start")
    return f"local-dir:{tmp_path / 'start'}"


@pytest.fixture
def torchrun(start, settings, tmp_path):
    def run(how, **changes):
        seen = tmp_path / "seen"
        seen.mkdir()
        pairs = [f"{key}={value}" for key, value in (settings | changes).items()]
        worker = ["-m", "tests.engine.process", how, str(seen), start, *pairs]
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run([*launcher, *worker], capture_output=True, text=True, env=environment, timeout=600)
        states = [torch.load(file, weights_only=False) for file in sorted(seen.glob("?.pt"))]
        return done, states

    return run


def parameters(weights):
    return {key: value for key, value in weights.items() if "running_" not in key and "num_batches" not in key}


def test_processes_train_one_model(torchrun, tmp_path):
    (tmp_path / "run").mkdir()
    done, (first, second) = torchrun("joined")
    assert done.returncode == 0, done.stderr[-3000:]
    assert first["folder"] == second["folder"] == tmp_path / "run-2", "both name the folder that the first chose"
    begin = zoo.create(f"local-dir:{tmp_path / 'start'}").state_dict()
    for key, value in parameters(first["weights"]).items():
        assert torch.equal(value, second["weights"][key]), key
    assert not torch.equal(first["weights"]["grafts.9.gamma"], begin["grafts.9.gamma"])
    assert zoo.create(f"local-dir:{first['folder'] / 'weights' / 'zoo'}").grafts["9"].gamma.abs().sum() > 0
    assert (first["folder"] / "results.csv").read_text().count("\n") == 3


@pytest.mark.slow
def test_processes_train_in_bfloat16(torchrun):
    done, (first, second) = torchrun("joined", amp="bf16")
    assert done.returncode == 0, done.stderr[-3000:]
    assert first["dtypes"] == second["dtypes"] == {torch.bfloat16}
    assert all(loss.isfinite() for loss in first["loss"].values())
    for key, value in parameters(first["weights"]).items():
        assert torch.equal(value, second["weights"][key]), key


@pytest.mark.slow
def test_without_the_wrapper_processes_drift_apart(torchrun):
    done, (first, second) = torchrun("apart")
    assert done.returncode == 0, done.stderr[-3000:]
    assert not torch.equal(first["weights"]["grafts.9.gamma"], second["weights"]["grafts.9.gamma"])


@pytest.mark.slow
def test_two_processes_equal_one_of_the_same_global_batch(torchrun, start, settings, tmp_path):
    """On copies of one image, where the batch statistics and box counts of each half are those of the whole.

    At 64 px, so few cells match that Ultralytics no longer divides the loss by their scores, and two pixels a channel
    leave the statistics of P5 to rounding.
    """
    changes = {"data": str(write_data(tmp_path / "copies", size=160, same=True)), "imgsz": 160}
    done, (first, second) = torchrun("joined", **changes)
    assert done.returncode == 0, done.stderr[-3000:]
    alone = {}
    engine = zoo.YOLO(start)
    engine.add_callback(
        "on_train_epoch_end",
        lambda t: alone.update(loss=t.tloss, weights={k: v.clone() for k, v in t.model.state_dict().items()}),
    )
    engine.train(**settings | changes | {"name": "alone"})
    for name, loss in alone["loss"].items():
        torch.testing.assert_close((first["loss"][name] + second["loss"][name]) / 2, loss, rtol=1e-4, atol=1e-5)
    for key, value in parameters(alone["weights"]).items():
        torch.testing.assert_close(first["weights"][key], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_killed_process_ends_the_run_and_leaves_a_checkpoint(torchrun, tmp_path):
    done, _ = torchrun("killed", epochs=3)
    assert done.returncode != 0
    assert "FAILED" in done.stderr and "Signal 9 (SIGKILL)" in done.stderr
    last = tmp_path / "run" / "weights" / "last.pt"
    model, saved = load_checkpoint(last)
    assert saved["epoch"] == 0 and "9" in model.grafts
    assert not list(last.parent.glob(".*")), "nothing half-written is left"
    zoo.YOLO(last).train(resume=True)
    assert (tmp_path / "run" / "weights" / "zoo" / "model.safetensors").is_file()


def test_a_bad_setting_ends_all_processes_with_its_message(torchrun):
    done, states = torchrun("joined", epoch=3)
    assert done.returncode != 0 and not states
    assert "zoo: error: unknown setting 'epoch'. Did you mean" in done.stderr
