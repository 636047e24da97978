"""`python -m tests.fuzz TARGET [SECONDS [OPTION ...]]`: let atheris look for bytes that do harm.

It stops at the first that raise anything but a `ZooError`, take over 5 seconds of the processor, never end, or take
more than 1 GB of memory, and leaves them in the working directory. What it learns goes to FUZZ_CORPUS, or a temporary
folder; `corpus/` holds a few by hand. Options are libFuzzer's: `-timeout=900` where the process may be stopped
meanwhile, which libFuzzer takes for a hang.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["zoo"]):
    from tests.fuzz.targets import TARGETS

name, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "60"
target = TARGETS[name]


def timed(content: bytes) -> None:
    """The target, which may take 5 seconds, whatever else the machine does."""
    start = time.process_time()
    target(content)
    assert time.process_time() - start < 5, "these bytes take over 5 seconds"


limits = ["-timeout=30", "-rss_limit_mb=1024", "-max_len=65536", f"-max_total_time={seconds}", "-print_final_stats=1"]
learned = os.environ.get("FUZZ_CORPUS") or tempfile.mkdtemp(prefix="corpus")  # libFuzzer writes into the first folder
kept = str(Path(__file__).parent / "corpus" / name)
atheris.Setup([sys.argv[0], *limits, *sys.argv[3:], learned, kept], timed)
atheris.Fuzz()
