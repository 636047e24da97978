"""Deformable attention: every query looks at sampling points that the image itself has moved.

Source: Xia et al., "Vision Transformer with Deformable Attention" (arXiv 2201.00520, section 3.2), and DAT++
(arXiv 2309.01430).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import ChannelError
from zoo.layers.shape_cache import shape_cache


@shape_cache
def _cell_centres(count: int, cell: int, size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Centres of `count` cells of `cell` pixels on an axis of `size` pixels, `(count,)`, the axis being [-1, 1].

    The last cell may stick out of the map; its centre is that of the part inside.
    """
    edges = (torch.arange(count + 1, device=device, dtype=dtype) * cell).clamp(max=size)
    return (edges[1:] + edges[:-1]) / size - 1


@shape_cache
def _upstream_centres(count: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The official code's reference points, `(count,)`: half a cell further than the pixel they stand for."""
    return (torch.arange(count, device=device, dtype=dtype) * 2 + 1) / max(count - 1, 1) - 1


class DeformableAttention(nn.Module):
    """Attention from every pixel to a grid of deformed sampling points (arXiv 2201.00520, equations 6 to 9).

    A small network moves the points of a regular grid by offsets read from the queries; keys and values are read
    bilinearly from the input at the moved points. The logits matrix is never materialised, unless a position bias
    (`"table"`, `"log_cpb"`) needs it.

    The official code places its grid so that a zero offset samples half a cell beside the pixel, and the last row
    and column outside the map. Here a zero offset samples the centre of its cell, and points beyond the border read
    the border; `centered=False` selects the official grid, for official weights.

    Args:
        dim: Channels in and out; a multiple of `heads` and of `groups`.
        heads: Attention heads; a multiple of `groups`.
        groups: Groups of channels, each of which moves its own points.
        stride: Pixels per cell of the key grid; there are `ceil(H / stride) * ceil(W / stride)` keys.
        kernel_size: Depthwise kernel of the offset network; odd (or equal to `stride` if not `centered`).
        offset_range: Largest offset in cells of the key grid, or None for offsets in half map sizes without bound,
            clamped to the map (DAT++).
        position: `"dwc"` adds a depthwise convolution of the queries to the result; `"table"` adds a bias read
            bilinearly from a table of relative positions; `"log_cpb"` computes that bias by a small network;
            None adds nothing.
        offsets: False pools each cell instead of sampling a moved point.
        centered: False selects the official grid.
        key_bias: Give the keys' projection a bias. It has no effect on the result, but official weights have one.
        table_size: `(H, W)` of the map that `"table"` was made for; the table is `(heads, 2H - 1, 2W - 1)`. On other
            maps it is read at the same relative positions.

    Shape:
        `(B, dim, H, W)` to `(B, dim, H, W)`, any H and W, in the dtype of the input. Positions are computed in
        float32 (float64 for a float64 input).

    Raises:
        ChannelError: `dim`, `heads` and `groups` do not divide as said above, or `kernel_size` or `table_size` cannot
            be used.
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int,
        groups: int = 1,
        stride: int = 1,
        kernel_size: int = 5,
        offset_range: float | None = 2.0,
        position: Literal["dwc", "table", "log_cpb"] | None = "dwc",
        offsets: bool = True,
        centered: bool = True,
        key_bias: bool = False,
        table_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if dim % heads or heads % groups:
            raise ChannelError(
                f"deformable attention needs dim to be a multiple of heads and heads of groups, got dim={dim}, "
                f"heads={heads}, groups={groups}; choose heads among the divisors of {dim}"
            )
        if kernel_size % 2 == 0 and (centered or kernel_size != stride):
            raise ChannelError(
                f"deformable attention needs an odd kernel_size, or its offsets have another grid than its keys; "
                f"got kernel_size={kernel_size} with stride={stride}"
            )
        if (position == "table") != (table_size is not None):
            raise ChannelError(
                f'deformable attention takes table_size with position="table" and only then, got '
                f"position={position!r}, table_size={table_size}"
            )
        self.dim = dim
        self.heads = heads
        self.groups = groups
        self.stride = stride
        self.offset_range = offset_range
        self.position = position
        self.centered = centered

        self.proj_q = nn.Conv2d(dim, dim, 1)
        self.proj_k = nn.Conv2d(dim, dim, 1, bias=key_bias)
        self.proj_v = nn.Conv2d(dim, dim, 1)
        self.proj_out = nn.Conv2d(dim, dim, 1)
        self.conv_offset: nn.Sequential | None = None
        if offsets:
            width = dim // groups
            padding = 0 if kernel_size == stride and not centered else kernel_size // 2
            to_offset = nn.Conv2d(width, 2, 1, bias=False)
            nn.init.trunc_normal_(to_offset.weight, std=0.02)
            self.conv_offset = nn.Sequential(
                nn.Conv2d(width, width, kernel_size, stride, padding, groups=width),
                nn.LayerNorm(width),
                nn.GELU(),
                to_offset,
            )
        self.rpe: nn.Conv2d | nn.Sequential | None = None
        if position == "dwc":
            self.rpe = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        elif position == "log_cpb":
            self.rpe = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, heads // groups, bias=False))
        if table_size is not None:
            self.rpe_table = nn.Parameter(torch.empty(heads, 2 * table_size[0] - 1, 2 * table_size[1] - 1))
            nn.init.trunc_normal_(self.rpe_table, std=0.01)

    def extra_repr(self) -> str:
        """Show the settings that the submodules do not."""
        return (
            f"heads={self.heads}, groups={self.groups}, stride={self.stride}, offset_range={self.offset_range}, "
            f"position={self.position}, centered={self.centered}"
        )

    def forward(self, x: Tensor) -> Tensor:
        """Attend: `(B, dim, H, W)` to `(B, dim, H, W)`."""
        height, width = x.shape[2:]
        # Channels-last from end to end: heads and groups are then cut, and joined, without copies.
        x = x.contiguous(memory_format=torch.channels_last)
        q = self.proj_q(x)
        sampled, pos_y, pos_x = self._sample(x, q)
        sampled = sampled.contiguous(memory_format=torch.channels_last)
        queries, keys, values = map(self._tokens, (q, self.proj_k(sampled), self.proj_v(sampled)))
        if self.position in ("table", "log_cpb"):
            bias = self._position_bias(pos_y, pos_x, height, width)
            with torch.autocast(x.device.type, enabled=False):
                queries, keys, values = (tokens.to(bias.dtype) for tokens in (queries, keys, values))
                out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias).to(q.dtype)
        else:
            out = F.scaled_dot_product_attention(queries, keys, values)
        # Not a view: exporters disagree with the kernels about the layout of `out`.
        out = out.transpose(1, 2).clone(memory_format=torch.contiguous_format)
        out = out.reshape(-1, height, width, self.dim).permute(0, 3, 1, 2)
        if isinstance(self.rpe, nn.Conv2d):
            out = out + self.rpe(q)
        return self.proj_out(out).to(x.dtype)

    def _tokens(self, x: Tensor) -> Tensor:
        """`(B, dim, H, W)` to `(B, heads, HW, dim / heads)`."""
        return x.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3)

    def _sample(self, x: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Read the map at the moved points.

        Returns:
            The sampled map `(B, dim, Hk, Wk)`, and the points' coordinates y and x, both `(B * groups or 1, Hk, Wk)`,
            the map being [-1, 1].
        """
        dtype = torch.promote_types(x.dtype, torch.float32)
        if self.conv_offset is None:
            sampled = F.avg_pool2d(x, self.stride, ceil_mode=self.centered, count_include_pad=False)
            ref_y, ref_x = self._reference(x, sampled, dtype)
            pos_y, pos_x = torch.broadcast_tensors(ref_y[None, :, None], ref_x[None, None])
            return sampled, *self._clamp(pos_y, pos_x)

        depthwise, norm, activation, to_offset = self.conv_offset.children()
        assert isinstance(depthwise, nn.Conv2d)
        # One network for all groups: its depthwise kernels are repeated, so that q stays in place.
        weight = depthwise.weight.repeat(self.groups, 1, 1, 1)
        bias = depthwise.get_parameter("bias").repeat(self.groups)
        grid = F.conv2d(q, weight, bias, depthwise.stride, depthwise.padding, groups=self.dim)
        hidden = activation(norm(grid.permute(0, 2, 3, 1).unflatten(3, (self.groups, -1))))
        with torch.autocast(x.device.type, enabled=False):
            offset = F.linear(hidden.to(dtype), to_offset.get_parameter("weight").flatten(1).to(dtype))
        ref_y, ref_x = self._reference(x, grid, dtype)
        off_y, off_x = offset.permute(4, 0, 3, 1, 2).flatten(1, 2).unbind(0)
        if self.offset_range is not None:
            cell_y, cell_x = self._cell_size(x, grid)
            off_y = off_y.tanh() * (self.offset_range * cell_y)
            off_x = off_x.tanh() * (self.offset_range * cell_x)
        pos_y, pos_x = self._clamp(ref_y[:, None] + off_y, ref_x + off_x)
        sampled = F.grid_sample(
            x.to(dtype).reshape(-1, self.dim // self.groups, *x.shape[2:]),
            torch.stack((pos_x, pos_y), -1),
            padding_mode="border" if self.centered else "zeros",
            align_corners=not self.centered,
        )
        return sampled.reshape(-1, self.dim, *sampled.shape[2:]).to(x.dtype), pos_y, pos_x

    def _clamp(self, pos_y: Tensor, pos_x: Tensor) -> tuple[Tensor, Tensor]:
        """Keep points inside the map where nothing else bounds their offsets."""
        if self.offset_range is None:
            return pos_y.clamp(-1, 1), pos_x.clamp(-1, 1)
        return pos_y, pos_x

    def _reference(self, x: Tensor, grid: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Where the unmoved points of `grid` lie on `x`: y `(Hk,)` and x `(Wk,)`, the map being [-1, 1]."""
        if self.centered:
            return (
                _cell_centres(grid.shape[2], self.stride, x.shape[2], x.device, dtype),
                _cell_centres(grid.shape[3], self.stride, x.shape[3], x.device, dtype),
            )
        return (
            _upstream_centres(grid.shape[2], x.device, dtype),
            _upstream_centres(grid.shape[3], x.device, dtype),
        )

    def _cell_size(self, x: Tensor, grid: Tensor) -> tuple[float, float]:
        """Height and width of a cell of the key grid, the map being [-1, 1]."""
        if self.centered:
            return 2 * self.stride / x.shape[2], 2 * self.stride / x.shape[3]
        return 2 / max(grid.shape[2] - 1, 1), 2 / max(grid.shape[3] - 1, 1)

    def _position_bias(self, pos_y: Tensor, pos_x: Tensor, height: int, width: int) -> Tensor:
        """Bias of the logits, `(B or 1, heads, HW, HkWk)`, from the distances between pixels and points."""
        device, dtype = pos_y.device, pos_y.dtype
        if self.centered:
            query_y = _cell_centres(height, 1, height, device, dtype)
            query_x = _cell_centres(width, 1, width, device, dtype)
        else:
            query_y = torch.linspace(-1, 1, height, device=device, dtype=dtype)
            query_x = torch.linspace(-1, 1, width, device=device, dtype=dtype)
        delta = torch.stack(
            torch.broadcast_tensors(
                query_y[:, None, None] - pos_y.flatten(1)[:, None, None],
                query_x[None, :, None] - pos_x.flatten(1)[:, None, None],
            ),
            -1,
        ).flatten(1, 2)
        if delta.shape[0] == 1:
            delta = delta.expand(self.groups, -1, -1, -1)
        if isinstance(self.rpe, nn.Sequential):
            delta = delta * 4
            delta = delta.sign() * torch.log2(delta.abs() + 1) / 3
            bias = self.rpe(delta.to(self.proj_q.weight.dtype)).to(dtype).permute(0, 3, 1, 2)
        else:
            rows, columns = self.rpe_table.shape[1:]
            delta = delta / 2
            if self.centered:
                delta = delta * torch.tensor([(rows + 1) / rows, (columns + 1) / columns], device=device, dtype=dtype)
            table = self.rpe_table.to(dtype).unflatten(0, (self.groups, -1))
            table = table.repeat(delta.shape[0] // self.groups, 1, 1, 1)
            bias = F.grid_sample(table, delta.flip(-1), align_corners=not self.centered)
        return bias.reshape(-1, self.heads, *bias.shape[2:])
