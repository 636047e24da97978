"""Tests under other versions of Python and of what the package needs, a row each in `results/versions.csv`.

    python -m benchmarks.versions INTERPRETER RESOLUTION [PYTEST ARGUMENT ...]

INTERPRETER is of an environment that holds this checkout and `[dev]`, RESOLUTION the word for the table of how it was
made: `lowest-direct` as by `make test-lowest`, or `highest`. Without arguments the fast tests run. A row replaces the
earlier one of the same Python, resolution and arguments.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time

from zoo import assets, records

PACKAGES = ("torch", "torchvision", "ultralytics", "timm", "numpy", "safetensors", "huggingface_hub", "scipy", "gradio")
KEY = ("python", "resolution", "tests")
ASK = f"""
import json, platform
from importlib.metadata import version
print(json.dumps({{"python": platform.python_version()}} | {{name: version(name) for name in {PACKAGES}}}))
"""


def main() -> int:
    """Run pytest and write its row; returns pytest's code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("interpreter")
    parser.add_argument("resolution", choices=["lowest-direct", "highest"])
    options, arguments = parser.parse_known_args()
    arguments = arguments or ["-m", "fast"]

    versions = json.loads(subprocess.check_output([options.interpreter, "-c", ASK], text=True))
    command = [options.interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    started = time.monotonic()
    done = subprocess.run(command, cwd=assets.root(), capture_output=True, text=True)
    seconds = time.monotonic() - started
    print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (\w+)", done.stdout.strip().splitlines()[-1])}
    row = {
        "python": versions.pop("python"),
        "resolution": options.resolution,
        "tests": " ".join(arguments),
        "passed": counts.get("passed", 0),
        "failed": counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0),
        "skipped": counts.get("skipped", 0),
        "seconds": f"{seconds:.0f}",
        **versions,
        "machine": records.machine(),
        "date": records.environment()["date"],
        "commit": records.commit(),
    }
    table = assets.root() / "results" / "versions.csv"
    rows = {tuple(earlier[key] for key in KEY): earlier for earlier in records.read(table)}
    rows |= {tuple(row[key] for key in KEY): row}
    records.write(table, list(rows.values()))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
