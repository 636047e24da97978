"""The bounded memory for tensors that depend on shapes alone."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor

from zoo.layers.shape_cache import shape_cache


@pytest.mark.fast
def test_remembers_a_few_and_forgets_the_rest() -> None:
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()

    @shape_cache
    def ones(size: int) -> Tensor:
        tensor = torch.ones(size)
        alive.add(tensor)
        return tensor

    assert ones(3) is ones(3)
    for size in range(100):
        ones(size)
    assert len(alive) <= 16


def test_result_of_inference_mode_can_be_trained_with() -> None:
    ones = shape_cache(torch.ones)
    with torch.inference_mode():
        ones(3)
    weight = torch.ones(3, requires_grad=True)
    (weight * ones(3)).sum().backward()


def test_builds_anew_while_tracing() -> None:
    calls = []

    @shape_cache
    def ones(size: int) -> Tensor:
        calls.append(size)
        return torch.ones(3)

    ones(3)
    traced = torch.jit.trace(lambda x: x + ones(3), torch.zeros(3))
    assert len(calls) > 1
    assert torch.equal(traced(torch.zeros(3)), torch.ones(3))
