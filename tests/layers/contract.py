"""What every attention block promises whatever it computes; a block's own test file subclasses `BlockContract`."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from typing import ClassVar

import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

SIZES = [(1, 1), (1, 9), (7, 2), (13, 17), (20, 20)]
HALF = [torch.bfloat16, torch.float16]


def relative_error(found: Tensor, expected: Tensor) -> float:
    """L2 norm of the difference over that of `expected`."""
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


class BlockContract:
    """Subclasses set `channels` and `make`, and list what their mechanism cannot do.

    Attributes:
        channels: Channels of the input.
        dynamic: Whether exported graphs take any H and W.
        large: The large map, whose cost is the square of its size for some mechanisms.
        batch_norm: Whether the block keeps statistics of batches, its only state beside parameters.
    """

    channels: ClassVar[int] = 32
    dynamic: ClassVar[bool] = True
    large: ClassVar[tuple[int, int]] = (160, 96)
    batch_norm: ClassVar[bool] = False

    def make(self) -> nn.Module:
        """A small block in eval mode, with the same parameters at every call."""
        raise NotImplementedError

    def image(self, height: int, width: int, batch: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        return torch.randn(batch, self.channels, height, width, generator=generator).to(dtype)

    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(height=st.integers(1, 30), width=st.integers(1, 30))
    def test_any_size(self, height: int, width: int) -> None:
        x = self.image(height, width, 1)
        with torch.inference_mode():
            y = self.make()(x)
        assert y.shape[0] == 1
        assert y.shape[2:] == x.shape[2:]
        assert torch.isfinite(y).all()

    def test_large_map(self) -> None:
        x = self.image(*self.large, 1)
        with torch.inference_mode():
            y = self.make()(x)
        assert y.shape[2:] == self.large
        assert torch.isfinite(y).all()

    @pytest.mark.parametrize("dtype", HALF, ids=str)
    @pytest.mark.parametrize("size", SIZES, ids=str)
    @torch.inference_mode()
    def test_half_precision(self, dtype: torch.dtype, size: tuple[int, int]) -> None:
        block = self.make().to(dtype)
        x = self.image(*size, dtype=dtype)
        y = block(x)
        assert y.dtype == dtype
        assert relative_error(y, block.double()(x.double())) < 1e-2

    @torch.inference_mode()
    def test_single_precision(self) -> None:
        block, x = self.make(), self.image(13, 17)
        y = block(x)
        assert y.dtype == torch.float32
        assert relative_error(y, block.double()(x.double())) < 1e-5

    @torch.inference_mode()
    def test_autocast_keeps_the_dtype_of_the_input(self) -> None:
        block, x = self.make(), self.image(13, 17)
        with torch.autocast("cpu", torch.bfloat16):
            y = block(x)
        assert y.dtype == torch.float32
        assert relative_error(y, block(x)) < 1e-2

    @pytest.mark.parametrize("dtype", [torch.float32, *HALF], ids=str)
    def test_large_activations(self, dtype: torch.dtype) -> None:
        x = (self.image(13, 17) * 1e4).to(dtype)
        with torch.inference_mode():
            assert torch.isfinite(self.make().to(dtype)(x)).all()

    def test_every_parameter_gets_a_gradient(self) -> None:
        block = self.make().train()
        block(self.image(20, 20).requires_grad_()).square().sum().backward()
        dead = [name for name, p in block.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
        assert not dead

    def test_gradcheck(self) -> None:
        x = self.image(3, 5, 1, torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(self.make().double(), x, atol=1e-6, fast_mode=True)

    @torch.inference_mode()
    def test_images_of_a_batch_do_not_meet(self) -> None:
        block, x = self.make().double(), self.image(9, 10, dtype=torch.float64)
        other = x.clone()
        other[1] = other[1] * -3 + 1
        torch.testing.assert_close(block(other)[0], block(x)[0], rtol=0, atol=1e-12)

    @torch.inference_mode()
    def test_memory_format_does_not_matter(self) -> None:
        block, x = self.make().double(), self.image(9, 10, dtype=torch.float64)
        torch.testing.assert_close(block(x.contiguous(memory_format=torch.channels_last)), block(x), rtol=0, atol=1e-12)

    def test_copies_and_pickles_after_use(self) -> None:
        block, x = self.make(), self.image(13, 17)
        expected = block(x).detach()
        names = set(block.state_dict())
        for twin in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
            assert torch.equal(twin(x), expected)
        parameters = {name for name, _ in block.named_parameters()}
        assert names == set(self.make().state_dict()) >= parameters
        assert names == parameters or self.batch_norm

    def test_trains_after_inference_mode(self) -> None:
        block, x = self.make().train(), self.image(11, 12)
        with torch.inference_mode():
            block(x)
        block(x.requires_grad_()).sum().backward()

    @pytest.mark.slow
    @torch.inference_mode()
    def test_compiles_to_one_graph(self) -> None:
        block = self.make()
        torch._dynamo.reset()
        compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
        for size in ((13, 17), (16, 12), (20, 20)):
            x = self.image(*size)
            torch.testing.assert_close(compiled(x), block(x), rtol=1e-4, atol=1e-5)

    @torch.inference_mode()
    def test_torch_export(self) -> None:
        block, x = self.make(), self.image(13, 17)
        program = torch.export.export(block, (x,)).module()
        torch.testing.assert_close(program(x), block(x), rtol=1e-4, atol=1e-5)

    @torch.inference_mode()
    def test_traces(self) -> None:
        block, x = self.make(), self.image(13, 17)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            traced = torch.jit.trace(block, x)
        other = x.flip(1)
        torch.testing.assert_close(traced(other), block(other), rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("dynamo", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["trace", "dynamo"])
    def test_onnx(self, dynamo: bool) -> None:
        if dynamo:
            pytest.importorskip("onnxscript")
        block = self.make()
        session = self.onnx_session(block, dynamo, dynamic=False)
        self.check_onnx(session, block, self.image(13, 17, 1))

    def test_onnx_dynamic(self) -> None:
        if not self.dynamic:
            pytest.skip("the mechanism has no dynamic export")
        block = self.make()
        session = self.onnx_session(block, dynamo=False, dynamic=True)
        for size in ((13, 17), (12, 20), (20, 20), (5, 31)):
            self.check_onnx(session, block, self.image(*size))

    @torch.inference_mode()
    def test_openvino(self) -> None:
        openvino = pytest.importorskip("openvino")
        block, x = self.make(), self.image(13, 17)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            model = openvino.convert_model(block, example_input=x)
        y = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x.numpy())[0]
        torch.testing.assert_close(torch.from_numpy(y), block(x), rtol=1e-3, atol=1e-4)

    def onnx_session(self, block: nn.Module, dynamo: bool, dynamic: bool) -> onnxruntime.InferenceSession:
        file = io.BytesIO()
        axes = {"x": {0: "batch", 2: "height", 3: "width"}, "y": {0: "batch", 2: "height", 3: "width"}}
        options = {"dynamic_axes": axes} if dynamic else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                block,
                (self.image(13, 17, 1),),
                None if dynamo else file,
                input_names=["x"],
                output_names=["y"],
                opset_version=18 if dynamo else 17,
                dynamo=dynamo,
                **options,
            )
        if dynamo:
            file = io.BytesIO(program.model_proto.SerializeToString())
        return onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])

    @torch.inference_mode()
    def check_onnx(self, session: onnxruntime.InferenceSession, block: nn.Module, x: Tensor) -> None:
        (y,) = session.run(None, {"x": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(y), block(x), rtol=1e-4, atol=1e-4)
