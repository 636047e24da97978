"""The scripts run as their pages say, and their tables are read as they were written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import layers, loading
from zoo import records

ROOT = Path(__file__).parents[1]
SCRIPTS = [path for folder in ("benchmarks", "reproduce") for path in sorted((ROOT / folder).glob("[!_]*.py"))]


@pytest.mark.fast
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_script_hides_a_module_of_python(script):
    """The folder of a script that is run comes first on the path: a `profile.py` there breaks `import cProfile`."""
    assert script.stem not in sys.stdlib_module_names


def test_a_benchmark_runs_as_a_file(tmp_path):
    command = [sys.executable, ROOT / "benchmarks/layers.py", "--blocks", "a2", "--levels", "P5", "--quick"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    measured = dict(cell.split(" ", 1) for cell in done.stdout.strip().split(", "))
    assert measured["block"] == "a2"
    assert float(measured["ratio"]) == pytest.approx(float(measured["other_ms"]) / float(measured["ms"]), rel=1e-2)
    assert not list(tmp_path.iterdir())


@pytest.mark.fast
@pytest.mark.parametrize("name", layers.BLOCKS)
@torch.inference_mode()
def test_straightforward_twins_compute_the_same(name):
    make, straightforward = layers.BLOCKS[name]
    block = make(128).eval()
    x = torch.randn(1, 128, 20, 20)
    twin = straightforward(block)
    assert type(twin) is not type(block) or name.startswith("hat")
    torch.testing.assert_close(twin(x), block(x), atol=1e-4, rtol=1e-4)


@pytest.mark.fast
def test_blocks_of_another_checkout_are_that_checkouts_own(tmp_path):
    """A copy whose block is twice ours, imported beside it; our modules stay what they were."""
    for folder in ("zoo", "benchmarks"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "zoo/layers/a2.py"
    file.write_text(file.read_text().replace("x.shape[2:]).to(x.dtype)", "x.shape[2:]).to(x.dtype) * 2"))
    ours = layers.BLOCKS["a2"][0](32)
    theirs = layers.blocks_of(tmp_path)["a2"][0](32)
    assert sys.modules[type(ours).__module__].__file__ == str(ROOT / "zoo/layers/a2.py")
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(1, 32, 4, 4)
    torch.testing.assert_close(theirs(x), ours(x) * 2)


@pytest.mark.fast
def test_rows_are_read_as_they_were_written(tmp_path):
    file = tmp_path / "new" / "table.csv"
    assert records.read(file) == []
    rows = [{"model": "yolov8n, width 0.27", "ms": "1.5"}, {"model": "yolov8n_a2", "ms": ""}]
    records.write(file, rows)
    assert records.read(file) == rows


@pytest.mark.fast
def test_rows_of_other_columns_leave_the_file_alone(tmp_path):
    file = tmp_path / "table.csv"
    records.write(file, [{"model": "a"}])
    with pytest.raises(ValueError, match="dict contains fields not in fieldnames"):
        records.write(file, [{"model": "b"}, {"model": "c", "ms": "1"}])
    assert records.read(file) == [{"model": "a"}]
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.fast
def test_the_environment_names_no_host():
    environment = records.environment(packages=("torch", "numpy"))
    assert list(environment) == ["machine", "torch", "numpy", "python", "date"]
    assert os.uname().nodename not in environment["machine"]


@pytest.mark.fast
def test_every_verb_is_looked_at_offline():
    from benchmarks.offline import NOT_RUN, VERBS
    from zoo.cli import verbs

    assert set(verbs()) <= VERBS.keys() | NOT_RUN
    assert all(command.split()[0] == verb for verb, command in VERBS.items())


@pytest.mark.slow
def test_loading_takes_about_as_long_as_ultralytics_load_of_the_base():
    """The whole process does, as the table says; a load alone builds a model where Ultralytics unpickles one."""
    whole, alone = loading.measure("yolov8n_dattn.digits", repeats=3)
    assert float(whole["ratio"]) < 1.15
    assert float(alone["ratio"]) < 4
