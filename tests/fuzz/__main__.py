"""`python -m tests.fuzz TARGET [SECONDS]`: let atheris look for bytes that do harm.

It stops at the first that raise anything but a `ZooError`, take over 5 seconds, or more than 1 GB of memory, and leaves
them in the working directory. What it learns goes to FUZZ_CORPUS, or a temporary folder; `corpus/` holds a few by hand.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["zoo"]):
    from tests.fuzz.targets import TARGETS

name, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "60"
limits = ["-timeout=5", "-rss_limit_mb=1024", "-max_len=65536", f"-max_total_time={seconds}", "-print_final_stats=1"]
learned = os.environ.get("FUZZ_CORPUS") or tempfile.mkdtemp(prefix="corpus")  # libFuzzer writes into the first folder
atheris.Setup([sys.argv[0], *limits, learned, str(Path(__file__).parent / "corpus" / name)], TARGETS[name])
atheris.Fuzz()
