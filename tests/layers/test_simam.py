"""SimAM."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.layers.contract import BlockContract
from zoo.layers.simam import SimAM


class TestContract(BlockContract):
    def make(self) -> nn.Module:
        return SimAM(self.channels).eval()


def energy(target: Tensor, others: list[Tensor], regularisation: float) -> Tensor:
    """Least energy of a neuron, equation 4 of the paper, by its own words: mean and variance of the channel."""
    mean = sum(others) / len(others)
    variance = sum((other - mean) ** 2 for other in others) / len(others)
    return 4 * (variance + regularisation) / ((target - mean) ** 2 + 2 * variance + 2 * regularisation)


@pytest.mark.fast
@pytest.mark.parametrize("regularisation", [1e-4, 0.1])
@pytest.mark.parametrize("size", [(4, 5), (1, 3), (1, 1)], ids=str)
@torch.no_grad()
def test_equals_the_inverse_of_the_least_energy(size: tuple[int, int], regularisation: float) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    expected = torch.empty_like(x)
    for image, channels in enumerate(x):
        for c, channel in enumerate(channels):
            pixels = list(channel.flatten())
            weights = [1 / (1 + torch.exp(-1 / energy(pixel, pixels, regularisation))) for pixel in pixels]
            expected[image, c] = torch.stack([p * w for p, w in zip(pixels, weights, strict=True)]).view(size)
    found = x + SimAM(3, energy_lambda=regularisation)(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_has_no_parameters() -> None:
    assert not list(SimAM(64).parameters())


@torch.no_grad()
def test_the_pixel_that_stands_out_weighs_most() -> None:
    x = torch.randn(1, 1, 9, 9) * 0.1
    x[0, 0, 4, 4] = 3.0
    weights = SimAM(1).weights(x)
    assert weights.argmax() == 4 * 9 + 4
    assert weights.min() >= torch.tensor(0.5).sigmoid()
