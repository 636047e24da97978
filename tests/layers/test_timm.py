"""timm's modules as blocks: what a graft of one computes, and that the options reach it."""

from __future__ import annotations

from typing import Any

import pytest
import timm.layers
import torch
from torch import nn

from zoo.errors import ChannelError, ConfigError
from zoo.layers import blocks
from zoo.layers.attention import Gates
from zoo.layers.graft import Graft
from zoo.layers.timm import TimmGate, TimmLayer, TimmResidual

pytestmark = pytest.mark.fast

DIM = 32
KINDS = [name for name, cls in blocks.BLOCKS.items() if issubclass(cls, TimmLayer)]
RESIDUALS = [name for name in KINDS if issubclass(blocks.BLOCKS[name], TimmResidual)]
GATES = [name for name in KINDS if issubclass(blocks.BLOCKS[name], TimmGate)]


def test_the_installed_factory_is_offered_whole() -> None:
    """Every word that `create_attn` compares its argument with is a block, but for the two that need a size."""
    words = set(timm.layers.create_attn.__globals__["get_attn"].__code__.co_consts)
    offered = {word for word in words if isinstance(word, str) and word.isidentifier()}
    assert offered - {"halo", "bottleneck"} == set(KINDS)


@torch.no_grad()
@pytest.mark.parametrize("name", RESIDUALS)
def test_an_open_gate_gives_timms_own_result(name: str) -> None:
    torch.manual_seed(3)
    block = blocks.build(name, DIM, {}).eval().double()
    graft = Graft(block, DIM).double()
    x = torch.randn(2, DIM, 14, 21, dtype=torch.float64)
    assert torch.equal(graft(x), x)
    nn.init.ones_(graft.gamma)
    torch.testing.assert_close(graft(x), block.attn(x), rtol=0, atol=1e-12)
    assert not torch.equal(block.attn(x), x)


@torch.no_grad()
@pytest.mark.parametrize("name", GATES)
def test_attention_is_what_a_constant_map_is_scaled_by(name: str) -> None:
    torch.manual_seed(3)
    block = blocks.build(name, DIM, {}).eval().double()
    x = torch.ones(1, DIM, 5, 6, dtype=torch.float64)
    x[0, 0, 0, 0] = 0.0
    (gates,) = block.attention(x, torch.zeros(1, 2)).values()
    found = block.attn(x)[0]
    torch.testing.assert_close(gates.channels[0, 1:], found[1:].mean((1, 2)))
    torch.testing.assert_close(gates.channels[0, 0], found[0].flatten()[1:].mean())
    torch.testing.assert_close(gates.pixels[0].flatten()[1:], found.mean(0).flatten()[1:])
    assert gates.channels.min() >= 0 and gates.channels.max() <= 1


@torch.no_grad()
def test_squeeze_and_excitation_by_its_equations() -> None:
    torch.manual_seed(3)
    block = blocks.build("se", DIM, {"rd_channels": 4}).double()
    x = torch.randn(2, DIM, 3, 5, dtype=torch.float64)
    one, two = block.attn.fc1, block.attn.fc2
    for image, found in zip(x, block(x), strict=True):
        squeezed = torch.stack([channel.sum() / 15 for channel in image])
        hidden = (one.weight[:, :, 0, 0] @ squeezed + one.bias).clamp(min=0)
        scale = 1 / (1 + (-(two.weight[:, :, 0, 0] @ hidden + two.bias)).exp())
        torch.testing.assert_close(image + found, image * scale[:, None, None], rtol=0, atol=1e-12)


@torch.no_grad()
@pytest.mark.parametrize(("extent", "use_mlp"), [(0, False), (2, False), (4, True)])
def test_gather_excite_by_its_equations(extent: int, use_mlp: bool) -> None:
    torch.manual_seed(3)
    block = blocks.build("ge", DIM, {"extent": extent, "use_mlp": use_mlp}).double()
    x = torch.randn(1, DIM, 8, 8, dtype=torch.float64)
    y = x + block(x)
    reach = extent - 1 if extent else 8
    for i, j in [(0, 0), (3, 6), (7, 7)]:
        cell = (i // extent * extent, j // extent * extent) if extent else (0, 0)
        rows, columns = (slice(max(at - reach, 0), at + reach + 1) for at in cell)
        mean = x[0, :, rows, columns].mean((1, 2))
        if use_mlp:
            first, second = block.attn.mlp.fc1, block.attn.mlp.fc2
            mean = second.weight[:, :, 0, 0] @ (first.weight[:, :, 0, 0] @ mean + first.bias).clamp(min=0) + second.bias
        torch.testing.assert_close(y[0, :, i, j], x[0, :, i, j] * mean.sigmoid(), rtol=0, atol=1e-12)


@torch.no_grad()
def test_bilinear_attention_pads_to_whole_blocks() -> None:
    torch.manual_seed(3)
    block = blocks.build("bat", DIM, {"block_size": 4}).eval()
    x = torch.randn(1, DIM, 8, 12)
    whole = torch.nn.functional.pad(x[:, :, :7, :10], (0, 2, 0, 1), mode="replicate")
    torch.testing.assert_close(block(x[:, :, :7, :10]), block(whole)[:, :, :7, :10])


@pytest.mark.parametrize("name", KINDS)
def test_hidden_layers_are_no_narrower_than_eight(name: str) -> None:
    block = blocks.build(name, 16, {})
    hidden = [m.weight.shape[0] for key, m in block.named_modules() if key.rpartition(".")[2] in {"fc1", "fc_reduce"}]
    assert all(width >= 8 for width in hidden)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("se", "rd_channels", 12),
        ("cbam", "spatial_kernel_size", 5),
        ("coord", "rd_ratio", 0.75),
        ("strip", "use_conv", False),
        ("nl", "rd_ratio", 0.75),
        ("bat", "groups", 4),
        ("lambda", "dim_head", 8),
        ("splat", "radix", 4),
        ("gc", "rd_channels", 12),
        ("ge", "rd_ratio", 0.75),
        ("ecam", "rd_channels", 12),
    ],
)
def test_options_reach_timm(name: str, option: str, value: Any) -> None:
    shapes = [
        [tuple(p.shape) for p in blocks.build(name, DIM, settings).parameters()] for settings in ({}, {option: value})
    ]
    assert shapes[0] != shapes[1]


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("lambda", {"num_heads": 5}, "32 channels are no multiple of 5"),
        ("lambda", {"r": 33}, "r=33"),
        ("strip", {"kernel_size": 4}, "odd size, got 4"),
        ("ge", {"extent": 3}, "extent=3"),
        ("cbam", {"spatial_kernel": 7}, "Did you mean spatial_kernel_size"),
        ("se", {"device": "cuda"}, "no option 'device'"),
        ("gc", {"fuse_add": True}, "no option 'fuse_add'"),
    ],
)
def test_impossible_settings(name: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises((ChannelError, ConfigError), match=words):
        blocks.build(name, DIM, settings)


def test_a_gate_says_the_factors_that_it_multiplies_with() -> None:
    """Squeeze and excitation has one factor a channel: what its own network gives."""
    torch.manual_seed(0)
    block = blocks.BLOCKS["se"](32)
    x = torch.randn(2, 32, 5, 7)
    network = block.attn
    pooled = x.mean((2, 3), keepdim=True)
    expected = network.fc2(network.act(network.bn(network.fc1(pooled)))).sigmoid()[:, :, 0, 0]
    told = block.attention(x, torch.tensor([[0, 0]]))["weights"]
    torch.testing.assert_close(told.channels, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(told.pixels, ((x * expected[:, :, None, None]).abs().mean(1) / x.abs().mean(1)))


@pytest.mark.parametrize("name", ["gca", "nl", "bat"])
def test_what_adds_has_no_factors(name: str) -> None:
    tell = getattr(blocks.BLOCKS[name](32).eval(), "attention", lambda x, at: {})
    assert not any(
        isinstance(part, Gates) for part in tell(torch.randn(2, 32, 7, 7), torch.zeros(1, 2).long()).values()
    )
