"""What a block looks at, asked of the block itself: the optional method `attention`.

A block that can say it has

    def attention(self, x: Tensor, at: Tensor) -> dict[str, Points | Descriptors | Gates]

for a map `x` `(B, C, H, W)` and queries `at` `(N, 2)`, rows and columns of the map as integers. The keys name the parts
of the block in the order in which they are computed, e.g. `"window"`, `"overlapping window"`, `"channels"`. The method
takes the steps of `forward` itself, so that what it says is what `forward` does, and `forward` keeps nothing for it.
In a block that has a submodule called `attention`, the method is called `attention_told`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Points:
    """Queries that read the map at points.

    Attributes:
        weights: `(B, heads, N, K)`, non-negative; they sum to one over K. A point that must not be seen has zero.
        positions: `(B, heads, N, K, 2)`, row and column of each point on the map, in pixels, `(0.0, 0.0)` being the
            centre of the first pixel; points may lie between pixels, and outside the map where the weight is zero.
        values: `(B, heads, N, K, d)`, what is read there; `weights @ values` is each head's part of the output.
        origins: `(B, heads, N, K, 2)`, where the points were before they moved; `None` where they do not.
    """

    weights: Tensor
    positions: Tensor
    values: Tensor
    origins: Tensor | None = None


@dataclass(frozen=True)
class Descriptors:
    """A map that is gathered into descriptors and given back as mixtures of them.

    Attributes:
        gathered: `(B, n, H, W)`, where each descriptor is gathered; sums to one over the map.
        given: `(B, n, H, W)`, how much of each descriptor a pixel is given; sums to one over the descriptors.
    """

    gathered: Tensor
    given: Tensor


@dataclass(frozen=True)
class Gates:
    """Factors that a map is multiplied with.

    Attributes:
        channels: `(B, C)`, one factor a channel, `None` where there is none.
        pixels: `(B, H, W)`, one factor a pixel, averaged over channels where it differs among them; `None` where there
            is none.
    """

    channels: Tensor | None = None
    pixels: Tensor | None = None


Part = Points | Descriptors | Gates


def told(block: nn.Module, x: Tensor, at: Tensor) -> Mapping[str, Part]:
    """What a block says it looks at; nothing, if it has no method for that."""
    methods = (getattr(block, name, None) for name in ("attention", "attention_told"))
    return next((method(x, at) for method in methods if inspect.ismethod(method)), {})
