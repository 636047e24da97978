"""Windows on a map: which pixels each holds, where each pixel went, and what must not be seen.

A window is a square of `window` pixels and a margin around it. Windows tile the map from its first pixel, or from
`shift` pixels further; the last one of an axis may reach over the map's end, or, if shifted, wrap around to its start.
"""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.layers.shape_cache import shape_cache


def _coordinates(size: int, window: int, margin: int, shift: int, device: torch.device) -> Tensor:
    """Where along an axis the pixels of each window lie, `(windows, window + 2 * margin)`; some outside the map."""
    count = (size + window - 1) // window
    starts = torch.arange(count, device=device) * window + shift - margin
    coordinates = starts[:, None] + torch.arange(window + 2 * margin, device=device)
    return coordinates % (count * window) if shift else coordinates


@shape_cache
def pixels(height: int, width: int, window: int, margin: int, shift: int, device: torch.device) -> Tensor:
    """The pixel `y * W + x` at each position of each window in turn; positions outside the map get one on its edge."""
    rows = _coordinates(height, window, margin, shift, device).clamp(0, height - 1)
    columns = _coordinates(width, window, margin, shift, device).clamp(0, width - 1)
    return (rows[:, None, :, None] * width + columns[None, :, None, :]).flatten()


@shape_cache
def positions(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    """The inverse of `pixels` without margin: among all positions of all windows, that of each pixel.

    Shifting stays above zero, because Inductor (PyTorch 2.15, CPU) fails on quotients of remainders of negatives.
    """
    down, across = (height + window - 1) // window, (width + window - 1) // window
    rows = (torch.arange(height, device=device)[:, None] + down * window - shift) % (down * window)
    columns = (torch.arange(width, device=device) + across * window - shift) % (across * window)
    windows = rows // window * across + columns // window
    return (windows * window**2 + rows % window * window + columns % window).flatten()


def cut(x: Tensor, rows: Tensor, area: int) -> Tensor:
    """Gather `(B, H, W, C)` into windows `(B, windows, area, C)`."""
    batch, _, _, channels = x.shape
    return x.flatten(1, 2).index_select(1, rows).view(batch, -1, area, channels)


def join(y: Tensor, shape: torch.Size, window: int, shift: int) -> Tensor:
    """Put windows `(B, windows, window**2, C)` back into a map of `shape`, `(B, H, W, C)`: the inverse of `cut`."""
    home = positions(shape[1], shape[2], window, shift, y.device)
    return y.flatten(1, 2).index_select(1, home).view(shape)


def seen_from(
    at: Tensor, height: int, width: int, window: int, margin: int, shift: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Where queries `(N, 2)`, rows and columns of the map, have gone, and what lies in their windows.

    Returns:
        The window of each and its position inside, both `(N,)`, and the rows and columns of the pixels of those
        windows with their margin, `(N, (window + 2 * margin)**2, 2)`.
    """
    home = positions(height, width, window, shift, at.device)[at[:, 0] * width + at[:, 1]]
    number, place = home // window**2, home % window**2
    held = pixels(height, width, window, margin, shift, at.device).view(-1, (window + 2 * margin) ** 2)[number]
    return number, place, torch.stack((held // width, held % width), -1)


@shape_cache
def outside_axis(size: int, window: int, margin: int, device: torch.device) -> Tensor:
    """Which positions of each window lie outside an axis: bool, `(windows, window + 2 * margin)`."""
    coordinates = _coordinates(size, window, margin, 0, device)
    return (coordinates < 0) | (coordinates >= size)


@shape_cache
def outside(height: int, width: int, window: int, margin: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Minus infinity at positions outside the map, else zero: `(windows, 1, 1, (window + 2 * margin)**2)`."""
    rows, columns = (outside_axis(size, window, margin, device) for size in (height, width))
    away = (rows[:, None, :, None] | columns[None, :, None, :]).flatten(2).flatten(0, 1)
    return _minus_infinity(away[:, None, None], dtype)


@shape_cache
def strangers(height: int, width: int, window: int, shift: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Minus infinity at pairs that must not see one another, else zero: `(windows, 1, window**2, window**2)`.

    Along each axis a window holds up to three regions: pixels in place, pixels wrapped around, and padding. Pairs
    from different regions are strangers, so padding sees padding and no softmax is empty.
    """

    def region(size: int) -> Tensor:
        coordinates = _coordinates(size, window, 0, shift, device)
        return (coordinates < shift).int() + 2 * (coordinates >= size).int()

    regions = 3 * region(height)[:, None, :, None] + region(width)[None, :, None, :]
    regions = regions.flatten(2).flatten(0, 1)
    return _minus_infinity((regions[:, None, :] != regions[:, :, None])[:, None], dtype)


def _minus_infinity(where: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(where.shape, dtype=dtype, device=where.device).masked_fill(where, -torch.inf)
