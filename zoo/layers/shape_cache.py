"""A bounded memory for tensors that depend on shapes alone: grids, masks and index tables."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import TypeVar, cast

import torch
from torch import Tensor

Builder = TypeVar("Builder", bound=Callable[..., Tensor])


def shape_cache(build: Builder) -> Builder:
    """Keep the sixteen most recent results of `build`, whose arguments are sizes, a device and a dtype.

    The results live beside the function and not in a module, so they are in no state dict, pickle or copy. While a
    graph is being captured (compile, export, trace) `build` runs as it is, because sizes may then be symbols and a
    tensor from outside would be frozen into the graph. Callers must not write into what they get.
    """

    @functools.lru_cache(maxsize=16)
    def remembered(*key: Hashable) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            return build(*key)

    @functools.wraps(build)
    def cached(*key: Hashable) -> Tensor:
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return build(*key)
        return remembered(*key)

    return cast(Builder, cached)
