"""`python -m tests.fuzz.table [SECONDS [TARGET ...] [OPTION ...]]`: atheris, a row a target in `results/fuzz.csv`.

Ten minutes each unless said otherwise. A target's row replaces its earlier one, so that it may be stopped in between.
Options are those of `tests.fuzz`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.targets import TARGETS
from zoo import records

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "results" / "fuzz.csv"
COUNTED = {
    "executions": "number_of_executed_units",
    "executions_per_second": "average_exec_per_sec",
    "new_inputs": "new_units_added",
    "peak_mb": "peak_rss_mb",
}


def fuzz(target: str, seconds: int, options: list[str]) -> dict[str, object]:
    """Run one target; its row. Bytes that did harm stay in the working directory."""
    with tempfile.TemporaryDirectory() as learned:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "FUZZ_CORPUS": learned}
        command = [sys.executable, "-m", "tests.fuzz", target, str(seconds), *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    if done.returncode:
        print(done.stderr[-3000:], flush=True)
    counts = dict(re.findall(r"stat::(\w+): +(\d+)", done.stderr))
    return {
        "target": target,
        "seconds": seconds,
        "crashes": int(done.returncode != 0),  # libFuzzer ends at the first
        **{column: counts.get(statistic, "") for column, statistic in COUNTED.items()},
        **records.environment(packages=("atheris", "torch", "safetensors")),
        "commit": records.commit(),
    }


def main(seconds: int, targets: list[str], options: list[str]) -> int:
    """Fuzz the targets; returns how many crashed."""
    crashed = 0
    for target in targets:
        row = fuzz(target, seconds, options)
        crashed += int(row["crashes"] != 0)
        rows = {earlier["target"]: earlier for earlier in records.read(TABLE)} | {target: row}
        records.write(TABLE, [rows[name] for name in TARGETS if name in rows])
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return crashed


if __name__ == "__main__":
    options = [word for word in sys.argv[2:] if word.startswith("-")]
    chosen = [word for word in sys.argv[2:] if word not in options] or list(TARGETS)
    sys.exit(min(main(int(sys.argv[1]) if len(sys.argv) > 1 else 600, chosen, options), 1))
