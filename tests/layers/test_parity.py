"""Every golden vector of the official implementations, through `tests.reference.build`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.reference import MECHANISMS, build

FOLDER = Path(os.environ.get("ZOO_PARITY_DIR", Path(__file__).parents[2].parent / "shared" / "parity"))
TOLERANCE = {"f64": {"atol": 1e-10, "rtol": 0.0}, "f32": {"atol": 2e-5, "rtol": 1e-4}}


def mechanism_of(path: Path) -> str:
    """The longest mechanism name that starts the file's name."""
    return max((name for name in MECHANISMS if path.name.startswith(f"{name}_")), key=len, default="")


CASES = [path for path in sorted(FOLDER.glob("*_f[36][24].safetensors")) if "index_tables" not in path.name]


@pytest.mark.fast
@pytest.mark.skipif(not CASES, reason=f"no golden vectors in {FOLDER}; set ZOO_PARITY_DIR")
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_matches_official_implementation(path: Path) -> None:
    with safe_open(path, "pt") as file:
        meta = json.loads(file.metadata()["meta"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    params = {name.removeprefix("param."): t for name, t in tensors.items() if name.startswith("param.")}
    tolerance = TOLERANCE[path.stem[-3:]]
    block = build(mechanism_of(path), meta, params)
    x = tensors["input"].requires_grad_()

    output = block(x)
    torch.testing.assert_close(output, tensors["output"], **tolerance)
    if "grad_output" in tensors:
        (grad_input,) = torch.autograd.grad(output, x, tensors["grad_output"])
        torch.testing.assert_close(grad_input, tensors["grad_input"], **tolerance)
