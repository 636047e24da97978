"""What every block promises at its defaults; `contract.py` has what the zoo's own promise beyond it."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from tests.layers.contract import relative_error
from zoo.layers import blocks
from zoo.layers.graft import Graft

DIM = 48
NAMES = sorted(blocks.BLOCKS)
OF_BATCHES = {"sk"}
"""Blocks that train on two images or more."""
FIXED_SIZE = {"bat"}
"""Blocks whose exported graph takes the size of its example and no other."""


def make(name: str, dim: int = DIM) -> nn.Module:
    torch.manual_seed(3)
    return blocks.build(name, dim, {})


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def maps(height: int, width: int, batch: int = 2, dim: int = DIM) -> Tensor:
    return torch.randn(batch, dim, height, width, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("dim", [16, 80, 256])
def test_defaults_fit_any_channel_count_of_a_yolo(name: str, dim: int) -> None:
    x = maps(4, 6, dim=dim)
    assert make(name, dim)(x).shape == x.shape


@torch.inference_mode()
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 2), (11, 19), (20, 20), (33, 65)], ids=str)
def test_any_size_and_every_dtype(name: str, size: tuple[int, int]) -> None:
    block, x = make(name).eval(), maps(*size)
    for dtype, tolerance in (
        (torch.float64, 0.0),
        (torch.float32, 1e-5),
        (torch.bfloat16, 3e-2),
        (torch.float16, 1e-2),
    ):
        rounded, given = copy.deepcopy(block).to(dtype), x.to(dtype)
        y = rounded(given)
        exact = rounded.double()(given.double())
        assert y.shape == x.shape and y.dtype == dtype
        assert relative_error(y, exact) <= tolerance, dtype


def test_trains_in_place_of_nothing(name: str) -> None:
    """Behind an open gate every parameter gets a gradient, and behind a closed one only the gate does."""
    block = make(name).train()
    graft = Graft(block, DIM).train()
    x = maps(9, 10, 4)
    graft(x).square().sum().backward()
    assert graft.gamma.grad is not None and graft.gamma.grad.abs().max() > 0
    nn.init.ones_(graft.gamma)
    graft.zero_grad()
    (graft(x) * maps(9, 10, 4).roll(1, 0)).sum().backward()
    dead = [key for key, p in block.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not dead


def test_trains_on_one_image(name: str) -> None:
    if name in OF_BATCHES:
        pytest.skip("a batch of one has no statistics")
    make(name).train()(maps(9, 10, 1).requires_grad_()).sum().backward()


@torch.inference_mode()
def test_images_of_a_batch_do_not_meet(name: str) -> None:
    block, x = make(name).eval().double(), maps(9, 10).double()
    other = x.clone()
    other[1] = other[1] * -3 + 1
    torch.testing.assert_close(block(other)[0], block(x)[0], rtol=0, atol=1e-12)


@torch.inference_mode()
def test_memory_format_does_not_matter(name: str) -> None:
    block, x = make(name).eval().double(), maps(9, 10).double()
    torch.testing.assert_close(block(x.contiguous(memory_format=torch.channels_last)), block(x), rtol=0, atol=1e-12)


@torch.inference_mode()
def test_a_forward_pass_leaves_nothing_behind(name: str) -> None:
    block, x = make(name).eval(), maps(9, 10)
    before = {key: dict(module.__dict__) for key, module in block.named_modules()}
    state = copy.deepcopy(block.state_dict())
    first = block(x)
    block(maps(5, 6))
    assert {key: dict(module.__dict__) for key, module in block.named_modules()} == before
    assert all(torch.equal(value, state[key]) for key, value in block.state_dict().items())
    for twin in (block, copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert torch.equal(twin(x), first)


@torch.inference_mode()
def test_autocast_keeps_the_dtype_of_the_input(name: str) -> None:
    block, x = make(name).eval(), maps(9, 10)
    with torch.autocast("cpu", torch.bfloat16):
        y = Graft(block, DIM)(x)
    assert y.dtype == torch.float32


@pytest.mark.slow
@torch.inference_mode()
def test_exports(name: str, tmp_path: Path) -> None:
    block, x = make(name).eval(), maps(12, 20, 1)
    expected = block(x)
    program = torch.export.export(block, (x,)).module()
    torch.testing.assert_close(program(x), expected, rtol=1e-4, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(block, x)
        torch.testing.assert_close(traced(x), expected, rtol=1e-4, atol=1e-5)
        axes = {} if name in FIXED_SIZE else {"x": {0: "batch", 2: "height", 3: "width"}}
        file = tmp_path / "block.onnx"
        torch.onnx.export(block, (x,), file, input_names=["x"], dynamic_axes=axes, opset_version=17, dynamo=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for other in [x] if name in FIXED_SIZE else [x, maps(7, 9), maps(20, 16)]:
        (y,) = session.run(None, {"x": other.numpy()})
        torch.testing.assert_close(torch.from_numpy(y), block(other), rtol=1e-4, atol=1e-4)
