"""The kept corpora through every target; a minute of atheris each where it is installed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
ROOT = Path(__file__).parents[2]


@pytest.mark.fast
@pytest.mark.parametrize("target", TARGETS)
def test_kept_bytes_and_their_pieces_raise_nothing(target):
    files = sorted((CORPUS / target).iterdir())
    assert files
    for file in files:
        content = file.read_bytes()
        for end in {len(content), len(content) // 2, max(len(content) - 1, 0), 8}:
            TARGETS[target](content[:end])
        TARGETS[target](content[::-1])


@pytest.mark.parametrize("target", TARGETS)
def test_any_change_of_kept_bytes_raises_nothing(target):
    kept = [file.read_bytes() for file in sorted((CORPUS / target).iterdir())]

    @settings(max_examples=100, deadline=5000, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(kept), st.integers(0, 1 << 16), st.binary(max_size=40), st.integers(0, 40))
    def change(content: bytes, place: int, new: bytes, gone: int) -> None:
        place %= len(content) + 1
        TARGETS[target](content[:place] + new + content[place + gone :])

    change()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
@pytest.mark.parametrize("target", TARGETS)
def test_a_minute_of_atheris_finds_nothing(target):
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.fuzz", target, "60"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "FUZZ_CORPUS": folder}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(re.findall(r"stat::number_of_executed_units: +(\d+)", done.stderr)[0]) > 100
