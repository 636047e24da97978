"""The scripts run as their pages say, and their tables are read as they were written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
