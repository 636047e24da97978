"""`zoo.create` of a model at hand against Ultralytics' own load of the same base, in `results/benchmark_loading.csv`.

    python -m benchmarks.loading [--model yolov8n_dattn.digits] [--repeats 7]

Seconds of the processor, by turns, medians: of whole processes that import, load and end, and of a load alone where all
is imported. Ultralytics loads a `.pt` file of random weights, which is a pickle of the built model; the zoo builds the
model and reads, hashes and checks its safetensors.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from zoo import assets, records
from zoo.names import parse

FILE = "benchmark_loading.csv"
IMPORT = {"zoo": "import zoo", "ultralytics": "import ultralytics"}


def main() -> None:
    """Measure, print and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="yolov8n_dattn.digits")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    about = records.environment(packages=("torch", "ultralytics"))
    rows = [{"model": options.model, **row, **about} for row in measure(options.model, options.repeats)]
    for row in rows:
        print(f"{row['what']}: zoo {row['zoo_s']} s, Ultralytics {row['ultralytics_s']} s, ratio {row['ratio']}")
    records.write(assets.root() / "results" / FILE, rows)


def measure(model: str, repeats: int) -> list[dict[str, str]]:
    """The rows: a whole process, and a load in one that has loaded before."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base.pt"
        build = f"import ultralytics; ultralytics.YOLO('{parse(model).base}.yaml').save({str(base)!r})"
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled
        _run([sys.executable, "-c", build], environment)
        loads = {
            "zoo": f"zoo.create({model!r}, pretrained=True)",
            "ultralytics": f"ultralytics.YOLO({str(base)!r})",
        }
        again = "; import time; start = time.process_time(); {0}; print(time.process_time() - start)"
        kinds = {
            "whole process": {
                name: f"{IMPORT[name]}; {load}; import time; print(time.process_time())" for name, load in loads.items()
            },
            "load alone": {name: f"{IMPORT[name]}; {load}" + again.format(load) for name, load in loads.items()},
        }
        rows = []
        for what, codes in kinds.items():
            taken: dict[str, list[float]] = {name: [] for name in codes}
            for turn in range(repeats + 1):
                for name, code in codes.items():
                    seconds = float(_run([sys.executable, "-c", code], environment).splitlines()[-1])
                    if turn:
                        taken[name].append(seconds)
            ours, theirs = (statistics.median(taken[name]) for name in ("zoo", "ultralytics"))
            row = {"what": what, "zoo_s": f"{ours:.3f}", "ultralytics_s": f"{theirs:.3f}"}
            rows.append(row | {"ratio": f"{ours / theirs:.2f}"})
    return rows


def _run(command: Sequence[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
