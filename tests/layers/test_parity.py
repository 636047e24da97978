"""The official implementations' numbers, through `tests.reference.build`; see `tests/layers/vectors/README.md`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from tests.layers.vectors.write import CASES, thinned
from tests.reference import MECHANISMS, build

VECTORS = Path(__file__).with_name("vectors")
FULL = Path(os.environ.get("ZOO_PARITY_DIR", Path(__file__).parents[2].parent / "shared" / "parity"))
FULL_CASES = [path for path in sorted(FULL.glob("*_f[36][24].safetensors")) if "index_tables" not in path.name]
TOLERANCE = {torch.float64: {"atol": 1e-10, "rtol": 0.0}, torch.float32: {"atol": 2e-5, "rtol": 1e-4}}


def read(path: Path) -> tuple[dict[str, Tensor], torch.nn.Module]:
    """The tensors of a case, and the zoo's block with its parameters, both in the dtype of the output."""
    with safe_open(path, "pt") as file:
        meta = json.loads(file.metadata()["meta"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors = {name: tensor.to(tensors["output"].dtype) for name, tensor in tensors.items()}
    params = {name.removeprefix("param."): t for name, t in tensors.items() if name.startswith("param.")}
    mechanism = max((name for name in MECHANISMS if path.name.startswith(f"{name}_")), key=len)
    return tensors, build(mechanism, meta, params)


COMMITTED = [pytest.param(VECTORS / f"{case}.safetensors", thinned, id=case, marks=pytest.mark.fast) for case in CASES]
FULL_SIZE = [pytest.param(path, lambda tensor: tensor, id=path.stem) for path in FULL_CASES]


@pytest.mark.parametrize(("path", "kept"), COMMITTED + FULL_SIZE)
def test_matches_official_implementation(path: Path, kept: Callable[[Tensor], Tensor]) -> None:
    tensors, block = read(path)
    x = tensors["input"].requires_grad_()
    output = block(x)
    torch.testing.assert_close(kept(output), tensors["output"], **TOLERANCE[output.dtype])
    if "grad_output" in tensors:
        (gradient,) = torch.autograd.grad(output, x, tensors["grad_output"])
        torch.testing.assert_close(kept(gradient), tensors["grad_input"], **TOLERANCE[output.dtype])


@pytest.mark.fast
def test_committed_vectors_are_those_listed_and_small() -> None:
    files = list(VECTORS.glob("*.safetensors"))
    assert {file.stem for file in files} == set(CASES)
    assert sum(file.stat().st_size for file in files) < 2e6


@pytest.mark.fast
def test_a_mistake_would_be_seen() -> None:
    tensors, block = read(VECTORS / "hat_hab_ws8_shift4_16x24.safetensors")
    block.block.attn.shift_size = 3
    with pytest.raises(AssertionError):
        torch.testing.assert_close(thinned(block(tensors["input"])), tensors["output"], atol=1e-10, rtol=0)
