"""Official parameters in the zoo's blocks; that they give official results is `test_parity.py`'s."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.layers.official import OfficialDeformableAttention, convert
from zoo.errors import StateDictError
from zoo.layers.halo import HaloAttention


def official_halo(block_size: int = 4, halo_size: int = 1) -> dict[str, torch.Tensor]:
    """Parameters of lucidrains' `HaloAttention(dim=8, heads=2, dim_head=4)`."""
    window = block_size + 2 * halo_size
    return {
        "rel_pos_emb.rel_height": torch.randn(2 * window - 1, 4),
        "rel_pos_emb.rel_width": torch.randn(2 * window - 1, 4),
        "to_q.weight": torch.randn(8, 8),
        "to_kv.weight": torch.randn(16, 8),
        "to_out.weight": torch.randn(8, 8),
        "to_out.bias": torch.randn(8),
    }


def halo() -> HaloAttention:
    return HaloAttention(8, heads=2, dim_head=4, block_size=4, halo_size=1)


@pytest.mark.fast
def test_rows_no_query_reaches_are_dropped() -> None:
    state = official_halo()
    block = halo()
    block.load_state_dict(convert(block, state))
    x = torch.randn(1, 8, 8, 8)
    before = block(x)
    for name in ("rel_pos_emb.rel_height", "rel_pos_emb.rel_width"):
        state[name][:2] = 1e3
    block.load_state_dict(convert(block, state))
    assert torch.equal(block(x), before)


def test_missing_parameter_is_named() -> None:
    state = {f"layers.0.{name}": tensor for name, tensor in official_halo().items()}
    with pytest.raises(StateDictError, match=r"layers\.0\.to_q\.weight"):
        convert(halo(), state)


def test_unknown_block() -> None:
    with pytest.raises(StateDictError, match="Linear"):
        convert(nn.Linear(2, 2), {})


@pytest.mark.parametrize("key_bias", [False, True])
def test_bias_without_effect_is_kept_only_where_there_is_room(key_bias: bool) -> None:
    block = OfficialDeformableAttention(8, heads=2, key_bias=key_bias)
    official = {name.replace("rpe.", "rpe_table."): tensor for name, tensor in block.state_dict().items()}
    converted = convert(block, official | {"proj_k.bias": torch.ones(8)})
    assert ("proj_k.bias" in converted) == key_bias
    block.load_state_dict(converted)
