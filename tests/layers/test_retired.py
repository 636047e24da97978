"""Blocks pickled when they had options that are gone."""

from __future__ import annotations

import pickle

import pytest
from torch import nn

from zoo.errors import ConfigError
from zoo.layers.dattn import DeformableAttention
from zoo.layers.halo import HaloAttention
from zoo.layers.hat import HybridAttentionBody, HybridOptions, OverlappingCrossAttention

OPTIONS = HybridOptions(window_size=4)
BLOCKS = [
    (DeformableAttention(8), "centered", True, False),
    (DeformableAttention(8), "position", "dwc", "table"),
    (HaloAttention(8), "masked", True, False),
    (HaloAttention(8), "scale_position", True, False),
    (OverlappingCrossAttention(8, 2, OPTIONS), "mask_border", True, False),
    (HybridAttentionBody(3, 8, (1,), (2,), OPTIONS), "padding", "mask", "reflect"),
]


@pytest.mark.fast
@pytest.mark.parametrize(("block", "name", "kept", "gone"), BLOCKS, ids=lambda value: str(value).split("(")[0])
def test_only_values_that_still_hold_are_let_in(block: nn.Module, name: str, kept: object, gone: object) -> None:
    setattr(block, name, kept)
    pickle.loads(pickle.dumps(block))
    setattr(block, name, gone)
    with pytest.raises(ConfigError, match=f"{name}={gone!r}"):
        pickle.loads(pickle.dumps(block))
