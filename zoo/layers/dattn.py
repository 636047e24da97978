"""Deformable attention: every query looks at sampling points that the image itself has moved.

Source: Xia et al., "Vision Transformer with Deformable Attention" (arXiv 2201.00520, section 3.2), and DAT++
(arXiv 2309.01430). The straightforward twin is `benchmarks/straightforward/dattn.py`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import ChannelError
from zoo.layers.attention import Points
from zoo.layers.heads import default_heads
from zoo.layers.retired import refuse_retired
from zoo.layers.shape_cache import shape_cache


@shape_cache
def _cell_centres(count: int, cell: int, size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Centres of `count` cells of `cell` pixels on an axis of `size` pixels, `(count,)`, the axis being [-1, 1].

    The last cell may stick out of the map; its centre is that of the part inside.
    """
    edges = (torch.arange(count + 1, device=device, dtype=dtype) * cell).clamp(max=size)
    return (edges[1:] + edges[:-1]) / size - 1


class DeformableAttention(nn.Module):
    """Attention from every pixel to a grid of deformed sampling points (arXiv 2201.00520, equations 6 to 9).

    A small network moves the points of a regular grid by offsets read from the queries; keys and values are read
    bilinearly from the input at the moved points. A depthwise convolution of the queries stands for relative
    positions (DAT++), so that the matrix of logits is never materialised.

    The official code places its grid so that a zero offset samples half a cell beside the pixel, and the last row
    and column outside the map. Here a zero offset samples the centre of its cell, and points beyond the border read
    the border.

    Args:
        dim: Channels in and out; a multiple of `heads` and of `groups`.
        heads: Attention heads, a multiple of `groups`; default the most that have 32 channels or more.
        groups: Groups of channels, each of which moves its own points; default the most that divide the heads and
            have 128 channels or more.
        stride: Pixels per cell of the key grid; there are `ceil(H / stride) * ceil(W / stride)` keys.
        kernel_size: Depthwise kernel of the offset network, odd.
        offset_range: Largest offset in cells of the key grid, or None for offsets in half map sizes without bound,
            clamped to the map (DAT++).

    Shape:
        `(B, dim, H, W)` to `(B, dim, H, W)`, any H and W, in the dtype of the input. Positions are computed in
        float32 (float64 for a float64 input).

    Raises:
        ChannelError: `dim`, `heads` and `groups` do not divide as said above, or the kernel is even.
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int | None = None,
        groups: int | None = None,
        stride: int = 1,
        kernel_size: int = 5,
        offset_range: float | None = 2.0,
    ) -> None:
        super().__init__()
        heads = default_heads(dim, 32) if heads is None else heads
        groups = default_heads(heads, max(1, -(-128 * heads // dim))) if groups is None else groups
        if min(heads, groups) < 1 or dim % heads or heads % groups:
            raise ChannelError(
                f"deformable attention needs dim to be a multiple of heads and heads of groups, got dim={dim}, "
                f"heads={heads}, groups={groups}; choose heads among the divisors of {dim}"
            )
        if kernel_size % 2 == 0:
            raise ChannelError(
                f"deformable attention needs an odd kernel_size, or its offsets have another grid than its keys; "
                f"got kernel_size={kernel_size}"
            )
        self.dim = dim
        self.heads = heads
        self.groups = groups
        self.stride = stride
        self.offset_range = offset_range

        self.proj_q = nn.Conv2d(dim, dim, 1)
        self.proj_k = nn.Conv2d(dim, dim, 1, bias=False)
        self.proj_v = nn.Conv2d(dim, dim, 1)
        self.proj_out = nn.Conv2d(dim, dim, 1)
        width = dim // groups
        to_offset = nn.Conv2d(width, 2, 1, bias=False)
        nn.init.trunc_normal_(to_offset.weight, std=0.02)
        self.conv_offset = nn.Sequential(
            nn.Conv2d(width, width, kernel_size, stride, kernel_size // 2, groups=width),
            nn.LayerNorm(width),
            nn.GELU(),
            to_offset,
        )
        self.rpe = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def __setstate__(self, state: dict[str, Any]) -> None:
        refuse_retired(state, centered=True, position="dwc")
        super().__setstate__(state)

    def extra_repr(self) -> str:
        """Show the settings that the submodules do not."""
        return f"heads={self.heads}, groups={self.groups}, stride={self.stride}, offset_range={self.offset_range}"

    def forward(self, x: Tensor) -> Tensor:
        """Attend: `(B, dim, H, W)` to `(B, dim, H, W)`."""
        height, width = x.shape[2:]
        # Channels-last from end to end: heads and groups are then cut, and joined, without copies.
        x = x.contiguous(memory_format=torch.channels_last)
        q = self.proj_q(x)
        sampled = self._sample(x, self._points(x, q))
        queries, keys, values = map(self._tokens, (q, self.proj_k(sampled), self.proj_v(sampled)))
        out = self._attend(queries, keys, values)
        # Not a view: exporters disagree with the kernels about the layout of `out`.
        out = out.transpose(1, 2).clone(memory_format=torch.contiguous_format)
        out = out.reshape(-1, height, width, self.dim).permute(0, 3, 1, 2)
        return self.proj_out(out + self.rpe(q)).to(x.dtype)

    def attention(self, x: Tensor, at: Tensor) -> dict[str, Points]:
        """See `zoo.layers.attention`."""
        size = torch.tensor(x.shape[2:], device=x.device)
        q = self.proj_q(x)
        points = self._points(x, q)
        sampled = self._sample(x, points)
        queries, keys, values = map(self._tokens, (q, self.proj_k(sampled), self.proj_v(sampled)))
        queries = queries[:, :, at[:, 0] * x.shape[3] + at[:, 1]]
        given = (queries @ keys.mT * queries.shape[-1] ** -0.5).softmax(-1)
        centres = [self._grid(points.shape[n], x.shape[n + 1], x.device, points.dtype)[0] for n in (1, 2)]
        origins = torch.stack(torch.meshgrid(*centres, indexing="ij"), -1).flatten(0, 1)
        # Beyond the border the border is read.
        seen = (((points.flip(-1) + 1) * size - 1) / 2).clamp(min=torch.zeros_like(size), max=size - 1)
        seen = seen.view(x.shape[0], self.groups, 1, -1, 2).repeat_interleave(self.heads // self.groups, 1)
        shape = (*given.shape, 2)
        return {
            "sampling points": Points(
                given,
                seen.expand(shape),
                values.unsqueeze(2).expand(*given.shape, -1),
                (((origins + 1) * size - 1) / 2).expand(shape),
            )
        }

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Softmax attention over `(B, heads, N, dim / heads)`."""
        return F.scaled_dot_product_attention(queries, keys, values)

    def _tokens(self, x: Tensor) -> Tensor:
        """`(B, dim, H, W)` to `(B, heads, HW, dim / heads)`."""
        return x.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3)

    def _points(self, x: Tensor, q: Tensor) -> Tensor:
        """Where keys and values are read: x and y, `(B * groups, Hk, Wk, 2)`, the map being [-1, 1]."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        depthwise, norm, activation, to_offset = self.conv_offset.children()
        assert isinstance(depthwise, nn.Conv2d)
        # One network for all groups: its depthwise kernels are repeated, so that q stays in place.
        weight, bias = (torch.cat([t] * self.groups) for t in (depthwise.weight, depthwise.get_parameter("bias")))
        grid = F.conv2d(q, weight, bias, depthwise.stride, depthwise.padding, groups=self.dim)
        hidden = activation(norm(grid.permute(0, 2, 3, 1).unflatten(3, (self.groups, -1))))
        with torch.autocast(x.device.type, enabled=False):
            offset = F.linear(hidden.to(dtype), to_offset.get_parameter("weight").flatten(1).to(dtype))
        offset = offset.permute(4, 0, 3, 1, 2).flatten(1, 2)
        (ref_y, cell_y), (ref_x, cell_x) = (self._grid(grid.shape[n], x.shape[n], x.device, dtype) for n in (2, 3))
        if self.offset_range is None:
            off_y, off_x = offset.unbind(0)
            return torch.stack((ref_x + off_x, ref_y[:, None] + off_y), -1).clamp(-1, 1)
        off_y, off_x = offset.tanh().unbind(0)
        off_y, off_x = off_y * (self.offset_range * cell_y), off_x * (self.offset_range * cell_x)
        return torch.stack((ref_x + off_x, ref_y[:, None] + off_y), -1)

    def _grid(self, count: int, size: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, float]:
        """Unmoved points along an axis of `size` pixels, `(count,)`, and the size of a cell, the axis being [-1, 1]."""
        return _cell_centres(count, self.stride, size, device, dtype), 2 * self.stride / size

    def _sample(self, x: Tensor, points: Tensor) -> Tensor:
        """Read the map at the points, `(B, dim, Hk, Wk)`."""
        sampled = F.grid_sample(
            x.to(points.dtype).reshape(-1, self.dim // self.groups, *x.shape[2:]),
            points,
            padding_mode="border",
            align_corners=False,
        )
        sampled = sampled.reshape(-1, self.dim, *sampled.shape[2:]).to(x.dtype)
        return sampled.contiguous(memory_format=torch.channels_last)
