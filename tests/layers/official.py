"""What the official implementations do otherwise, and their weights in this package's blocks.

The subclasses here change a block of the zoo where the code that its paper published computes something else, so that
the parity vectors hold it to the official numbers and not to ours. `convert` renames, joins and cuts the parameters of
an official implementation into the state dict of a block. What cannot be used (a bias with no effect, rows of a table
that no query reaches) is dropped, in each case without changing the block's result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import StateDictError
from zoo.layers.a2 import DoubleAttention
from zoo.layers.dattn import DeformableAttention
from zoo.layers.halo import HaloAttention
from zoo.layers.hat import (
    HybridAttentionBlock,
    HybridAttentionBody,
    OverlappingCrossAttention,
    ResidualHybridGroup,
    WindowAttention,
)

State = Mapping[str, Tensor]


class OfficialDeformableAttention(DeformableAttention):
    """`DAttentionBaseline` of LeapLabTHU/DAT: its grid, its position biases, and keys that are not moved.

    A zero offset samples half a cell beside the pixel, and the last row and column lie outside the map, where zeros
    are read.

    Args:
        dim: See `DeformableAttention`, as for the rest but these.
        kernel_size: Odd, or equal to the stride.
        position: `"dwc"` as in the zoo; `"table"` reads a bias bilinearly from a table of relative positions;
            `"log_cpb"` computes that bias by a small network; None adds nothing.
        offsets: False pools each cell instead of sampling a moved point.
        key_bias: Give the keys' projection a bias. It has no effect, but official weights have one.
        table_size: `(H, W)` of the map that `"table"` is for; the table is `(heads, 2H - 1, 2W - 1)`.
    """

    def __init__(
        self,
        dim: int,
        *,
        kernel_size: int = 5,
        position: Literal["dwc", "table", "log_cpb"] | None = "dwc",
        offsets: bool = True,
        key_bias: bool = False,
        table_size: tuple[int, int] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(dim, **options)
        depthwise = self.conv_offset[0]
        width, stride = depthwise.in_channels, self.stride
        padding = 0 if kernel_size == stride else kernel_size // 2
        self.conv_offset[0] = nn.Conv2d(width, width, kernel_size, stride, padding, groups=width)
        self.proj_k = nn.Conv2d(dim, dim, 1, bias=key_bias)
        self.offsets = offsets
        if not offsets:
            del self.conv_offset
        if position != "dwc":
            self.rpe = Nothing()
        self.bias: nn.Module | None = None
        if position == "log_cpb":
            self.bias = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, self.heads // self.groups, bias=False))
        if table_size is not None:
            self.table = nn.Parameter(torch.empty(self.heads, 2 * table_size[0] - 1, 2 * table_size[1] - 1))

    def forward(self, x: Tensor) -> Tensor:
        self.size = x.shape[2:]
        return super().forward(x)

    def _grid(self, count: int, size: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, float]:
        steps = max(count - 1, 1)
        return (torch.arange(count, device=device, dtype=dtype) * 2 + 1) / steps - 1, 2 / steps

    def _points(self, x: Tensor, q: Tensor) -> Tensor:
        if self.offsets:
            self.points = super()._points(x, q)
            return self.points
        (y, _), (x_, _) = (self._grid(n // self.stride, n, x.device, x.dtype) for n in x.shape[2:])
        return torch.stack(torch.meshgrid(x_, y, indexing="xy"), -1)[None]

    def _sample(self, x: Tensor, points: Tensor) -> Tensor:
        if not self.offsets:
            return F.avg_pool2d(x, self.stride)
        grouped = x.reshape(-1, self.dim // self.groups, *x.shape[2:])
        return F.grid_sample(grouped, points, align_corners=True).reshape(-1, self.dim, *points.shape[1:3])

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        if self.bias is None and not hasattr(self, "table"):
            return super()._attend(queries, keys, values)
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=self._bias())

    def _bias(self) -> Tensor:
        """Bias of the logits, `(B, heads, HW, HkWk)`, from the distances between pixels and points."""
        rows, columns = (torch.linspace(-1, 1, size, dtype=self.points.dtype) for size in self.size)
        pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).flatten(0, 1)
        delta = pixels[None, :, None] - self.points.flatten(1, 2)[:, None]
        if self.bias is not None:
            delta = 4 * delta.flip(-1)
            bias = self.bias(delta.sign() * torch.log2(delta.abs() + 1) / 3).permute(0, 3, 1, 2)
        else:
            table = self.table.unflatten(0, (self.groups, -1)).repeat(len(delta) // self.groups, 1, 1, 1)
            bias = F.grid_sample(table, delta / 2, align_corners=True)
        return bias.reshape(-1, self.heads, *bias.shape[2:])


class Nothing(nn.Module):
    """Zero, whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())


class TimmHaloAttention(HaloAttention):
    """`HaloAttn` of timm: keys outside the map take part as zero vectors, and nothing is projected at the end.

    Args:
        dim: Channels in.
        out_dim: Channels out, a multiple of `heads`, default `dim`.
        qkv_bias: Give queries, keys and values a bias.
        scale_position: False leaves the position terms unscaled, as `scale_pos_embed=False` does.
        **options: See `HaloAttention`.
    """

    def __init__(
        self, dim: int, *, out_dim: int | None = None, qkv_bias: bool = False, scale_position: bool, **options: Any
    ) -> None:
        super().__init__(dim, **options)
        width = 2 * self.heads * self.dim_head + (dim if out_dim is None else out_dim)
        self.qkv = nn.Linear(dim, width, bias=qkv_bias)
        self.to_out = nn.Identity()
        self.scale_position = scale_position

    def _cut(self, x: Tensor) -> tuple[Tensor, Tensor]:
        q, kv = super()._cut(x)
        if self.qkv.bias is None:
            return q, kv
        bias_q, bias_kv = self.qkv.bias.tensor_split((self.heads * self.dim_head,))
        for_q, for_kv = (bias.view(self.heads, 1, -1) for bias in (bias_q, bias_kv))
        window = self.block_size + 2 * self.halo_size
        q = q.view(-1, self.heads, self.block_size**2, q.shape[-1]) + for_q
        kv = kv.view(-1, self.heads, window**2, kv.shape[-1]) + for_kv
        return q.flatten(0, 2), kv.flatten(0, 2)

    def _logits(self, q: Tensor, kv: Tensor, outside_y: Tensor, outside_x: Tensor) -> tuple[Tensor, Tensor]:
        outside = outside_y[:, None, None, :, None, None] | outside_x[:, None, None, :, None]
        windows = kv.view(-1, len(outside_y), len(outside_x), self.heads, *outside.shape[3:5], kv.shape[-1])
        kv = windows.masked_fill(outside, 0).view(kv.shape)
        return super()._logits(q, kv, outside_y & False, outside_x & False)

    def _position(self, q: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        return super()._position(q if self.scale_position else q * self.dim_head**0.5, rows, columns)


class OfficialOverlap(OverlappingCrossAttention):
    """`OCAB` of XPixelGroup/HAT: keys outside the map take part as zero vectors."""

    def _windows(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        q, k, v, bias, mask = super()._windows(x)
        k, v = (t.masked_fill(mask.transpose(2, 3) < 0, 0) for t in (k, v))
        return q, k, v, bias, None


class OfficialBody(HybridAttentionBody):
    """`HAT` of XPixelGroup/HAT between its input and its upsampler: maps are mirrored until windows tile them."""

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        window = self.layers[0].overlap_attn.window_size
        return super().forward(reflect(reflect(x, 2, window), 3, window))[:, :, :height, :width]


def reflect(x: Tensor, axis: int, window: int) -> Tensor:
    """Mirror the far end of an axis up to a multiple of the window, to and fro where the axis is shorter than that."""
    size = x.shape[axis]
    period = max(2 * size - 2, 1)
    position = torch.arange((size + window - 1) // window * window) % period
    return x.index_select(axis, torch.minimum(position, period - position))


OFFICIAL = {OverlappingCrossAttention: OfficialOverlap, HybridAttentionBody: OfficialBody}


def official_hat(block: nn.Module, height: int, width: int) -> nn.Module:
    """Make `block`, and all blocks in it, compute on a map of this size what the official code computes there.

    That does not shift windows on maps that one of them spans in height or width.
    """
    for part in block.modules():
        part.__class__ = OFFICIAL.get(type(part), type(part))
        if isinstance(part, WindowAttention) and min(height, width) <= part.window_size:
            part.shift_size = 0
    return block


class OfficialDoubleAttention(DoubleAttention):
    """`DoubleAttentionLayer` of nguyenvo09/Double-Attention-Network, which can leave out the last convolution."""

    def __init__(self, dim: int, *, reconstruct: bool, **options: Any) -> None:
        super().__init__(dim, **options)
        if not reconstruct:
            self.conv_reconstruct = nn.Identity()


def _dattn(block: DeformableAttention, state: State) -> dict[str, Tensor]:
    """From `DAttentionBaseline` of LeapLabTHU/DAT."""
    table = "rpe" if isinstance(block.rpe, nn.Conv2d) else "bias"
    renamed = {}
    for name, tensor in state.items():
        if name == "proj_k.bias" and block.proj_k.bias is None:
            continue
        if name.startswith("conv_offset.") and not hasattr(block, "conv_offset"):
            continue
        name = name.replace("conv_offset.1.norm.", "conv_offset.1.")
        renamed["table" if name == "rpe_table" else name.replace("rpe_table.", f"{table}.")] = tensor
    return renamed


def _halo(block: HaloAttention, state: State) -> dict[str, Tensor]:
    """From `HaloAttention` of lucidrains/halonet-pytorch or `HaloAttn` of timm."""
    unused = 2 * block.halo_size
    if "to_kv.weight" in state:
        kv = state["to_kv.weight"].unflatten(0, (2, block.heads, -1)).transpose(0, 1).flatten(0, 2)
        return {
            "qkv.weight": torch.cat((state["to_q.weight"], kv)),
            "rel_height": state["rel_pos_emb.rel_height"][unused:],
            "rel_width": state["rel_pos_emb.rel_width"][unused:],
            "to_out.weight": state["to_out.weight"],
            "to_out.bias": state["to_out.bias"],
        }
    converted = {
        "qkv.weight": torch.cat((state["q.weight"], state["kv.weight"])).flatten(1),
        "rel_height": state["pos_embed.height_rel"][unused:],
        "rel_width": state["pos_embed.width_rel"][unused:],
    }
    if "q.bias" in state:
        converted["qkv.bias"] = torch.cat((state["q.bias"], state["kv.bias"]))
    return converted


def _hat(block: nn.Module, state: State) -> dict[str, Tensor]:
    """From `HAB`, `OCAB`, `RHAG` or `HAT` of XPixelGroup/HAT; what lies around the body of `HAT` is left out.

    The official table of `OCAB` is the natural one (rows in order of the offsets), rotated.
    """
    wanted = block.state_dict()
    renamed = {}
    for name, tensor in state.items():
        name = name.replace("residual_group.", "").replace("patch_embed.norm.", "norm_first.")
        if name not in wanted:
            continue
        owner = block.get_submodule(name.rpartition(".")[0])
        if isinstance(owner, OverlappingCrossAttention) and name.endswith("relative_position_bias_table"):
            overlap = 2 * owner.margin
            tensor = tensor.roll((overlap + owner.window_size - 2) * (overlap + 2 * owner.window_size), 0)
        renamed[name] = tensor
    return renamed


def _a2(block: DoubleAttention, state: State) -> dict[str, Tensor]:
    """From `DoubleAttentionLayer` of nguyenvo09/Double-Attention-Network."""
    return {name: tensor for name, tensor in state.items() if name != "convB.bias"}


CONVERTERS: dict[type[nn.Module], Callable[..., dict[str, Tensor]]] = {
    DeformableAttention: _dattn,
    HaloAttention: _halo,
    HybridAttentionBlock: _hat,
    OverlappingCrossAttention: _hat,
    ResidualHybridGroup: _hat,
    HybridAttentionBody: _hat,
    DoubleAttention: _a2,
}


def convert(block: nn.Module, state_dict: State) -> dict[str, Tensor]:
    """Give official parameters the names and layouts of `block`.

    Args:
        block: The block that will load the result; its settings say which rows and biases it has.
        state_dict: Parameters of one official block by their official names, without a prefix.

    Returns:
        What `block.load_state_dict` takes.

    Raises:
        StateDictError: There is no converter for this kind of block, or a parameter that it needs is missing.
    """
    converter = next((CONVERTERS[kind] for kind in type(block).mro() if kind in CONVERTERS), None)
    if converter is None:
        known = ", ".join(kind.__name__ for kind in CONVERTERS)
        raise StateDictError(f"no converter for {type(block).__name__}; there is one for each of {known}")
    try:
        return converter(block, state_dict)
    except KeyError as missing:
        raise StateDictError(
            f"not an official {type(block).__name__}: no parameter {missing}, found {', '.join(state_dict)}; remove "
            "any prefix such as 'layers.0.attn.' from the names"
        ) from None
