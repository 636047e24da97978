"""Bi-level routing attention: regions choose the regions they attend to (BiFormer, Zhu et al., arXiv 2303.08810)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import ChannelError
from zoo.layers.attention import Points
from zoo.layers.heads import default_heads
from zoo.layers.shape_cache import shape_cache


@shape_cache
def _inside(height: int, width: int, regions: int, device: torch.device) -> Tensor:
    """Which pixels of each region lie on the map: bool, `(regions^2, pixels of a region)`."""
    y, x = (torch.arange(size + -size % regions, device=device) < size for size in (height, width))
    inside = y[:, None] & x
    return _cut(inside[None, None], regions)[0, :, :, 0]


def _cut(x: Tensor, regions: int) -> Tensor:
    """`(B, C, H, W)` to `(B, regions^2, pixels of a region, C)`; the sides are multiples of `regions`."""
    x = x.unflatten(2, (regions, -1)).unflatten(4, (regions, -1))
    return x.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(1, 2)


class BiLevelRoutingAttention(nn.Module):
    """Every pixel attends to the pixels of the `topk` regions most akin to its own (section 3.2 of the paper).

    The map is cut into `regions x regions` regions. Means of queries and keys over a region say how akin two regions
    are; each region keeps its best `topk`, and its pixels attend to all pixels of those. A depthwise convolution of
    the values is added, and a last projection mixes the heads.

    A projection of a mean is the mean of projections, so regions are compared by their mean pixels, in float32. Sides
    that are no multiples of `regions` are padded; padding is in no mean, gets no attention, and regions of nothing
    else are chosen last.

    Args:
        dim: Channels in and out, a multiple of `heads`.
        heads: Attention heads; default as many as have 32 channels each, if they divide `dim`.
        regions: Regions along each side.
        topk: Regions that a region attends to, at most `regions^2`.
        kernel_size: Side of the depthwise convolution, odd.

    Shape:
        `(B, dim, H, W)` to `(B, dim, H, W)`, any H and W, in the dtype of the input.

    Raises:
        ChannelError: `dim`, `heads`, `topk` or `kernel_size` are not as said above.
    """

    def __init__(
        self, dim: int, *, heads: int | None = None, regions: int = 7, topk: int = 4, kernel_size: int = 5
    ) -> None:
        super().__init__()
        heads = default_heads(dim, 32) if heads is None else heads
        if heads < 1 or dim % heads or not 1 <= topk <= regions**2 or kernel_size < 1 or kernel_size % 2 == 0:
            raise ChannelError(
                "bi-level routing attention needs heads to divide its channels, at least one and at most all regions "
                f"to attend to, and an odd kernel_size; got dim={dim}, heads={heads}, topk={topk} of {regions**2} "
                f"regions, kernel_size={kernel_size}"
            )
        self.heads = heads
        self.regions = regions
        self.topk = topk
        self.qkv = nn.Conv2d(dim, 3 * dim, 1)
        self.local = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.project = nn.Conv2d(dim, dim, 1)

    def extra_repr(self) -> str:
        """Show the settings that the submodules do not."""
        return f"heads={self.heads}, regions={self.regions}, topk={self.topk}"

    def forward(self, x: Tensor) -> Tensor:
        """Attend: `(B, dim, H, W)` to `(B, dim, H, W)`."""
        height, width = x.shape[2:]
        local, q, k, v, seen, _ = self._project(x)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None])
        out = self._join(out.transpose(1, 2).flatten(2), height, width)
        return self.project(out + local).to(x.dtype)

    def attention(self, x: Tensor, at: Tensor) -> dict[str, Points]:
        """See `zoo.layers.attention`."""
        batch, _, height, width = x.shape
        rows, columns = ((size + self.regions - 1) // self.regions for size in (height, width))
        region = at[:, 0] // rows * self.regions + at[:, 1] // columns
        pixel = at[:, 0] % rows * columns + at[:, 1] % columns
        q, k, v, seen, routes = (t.unflatten(0, (batch, -1))[:, region] for t in self._project(x)[1:])
        q = q[:, torch.arange(len(at), device=x.device), :, pixel].permute(1, 2, 0, 3)
        k, v = k.transpose(1, 2), v.transpose(1, 2)
        logits = (k @ q.unsqueeze(-1)).squeeze(-1) * q.shape[-1] ** -0.5
        weights = logits.masked_fill(~seen.unsqueeze(1), -torch.inf).softmax(-1)
        sides = (torch.arange(side * self.regions, device=x.device) for side in (rows, columns))
        places = _cut(torch.stack(torch.meshgrid(*sides, indexing="ij"))[None], self.regions)[0]
        read = places[routes % self.regions**2].flatten(2, 3).to(weights.dtype)
        return {"regions chosen": Points(weights, read.unsqueeze(1).expand(*weights.shape, 2), v)}

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Everything that is attended to, and the values of the depthwise convolution, `(B, dim, H, W)`.

        Returns:
            The latter first; then by region, `B * regions^2` of them: queries `(heads, pixels of a region, d)`, keys
            and values `(heads, topk * pixels of a region, d)`, which of these lie on the map, and the regions `(topk)`
            that they are of, numbered through the batch.
        """
        dim, height, width = x.shape[1:]
        inside = _inside(height, width, self.regions, x.device)
        routes = self._routes(x, inside)
        q, kv = self.qkv(x).split((dim, 2 * dim), 1)
        local = self.local(kv[:, dim:])
        q, kv = (_cut(self._pad(projected), self.regions).flatten(0, 1) for projected in (q, kv))
        q = q.unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = (
            kv.index_select(0, routes)
            .unflatten(0, (-1, self.topk))
            .flatten(1, 2)
            .unflatten(2, (2, self.heads, -1))
            .permute(2, 0, 3, 1, 4)
        )
        seen = inside.index_select(0, routes % self.regions**2).unflatten(0, (-1, self.topk)).flatten(1)
        return local, q, k, v, seen, routes.unflatten(0, (-1, self.topk))

    def _pad(self, x: Tensor) -> Tensor:
        """Zeros below and to the right, up to sides that are multiples of `regions`."""
        return F.pad(x, (0, -x.shape[3] % self.regions, 0, -x.shape[2] % self.regions))

    def _routes(self, x: Tensor, inside: Tensor) -> Tensor:
        """The regions that each region attends to, `(B * regions^2 * topk)`, numbered through the batch."""
        dtype = torch.promote_types(x.dtype, torch.float32)
        pixels = inside.sum(1)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            sums = self._pad(x.to(dtype)).unflatten(2, (self.regions, -1)).unflatten(4, (self.regions, -1)).sum((3, 5))
            means = sums.flatten(2).transpose(1, 2) / pixels.clamp(min=1)[:, None]
            weight, bias = (t[: 2 * x.shape[1]].to(dtype) for t in (self.qkv.weight, self.qkv.get_parameter("bias")))
            query, key = F.linear(means, weight.flatten(1), bias).chunk(2, 2)
            kinship = (query @ key.transpose(1, 2)).masked_fill(pixels == 0, -torch.inf)
            chosen = kinship.topk(self.topk, sorted=False).indices
        first = torch.arange(x.shape[0], device=x.device) * self.regions**2
        return (chosen + first[:, None, None]).flatten()

    def _join(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """The inverse of `_cut`, less the padding: `(B * regions^2, pixels of a region, C)` to `(B, C, H, W)`."""
        rows = (height + self.regions - 1) // self.regions
        x = tokens.unflatten(1, (rows, -1)).unflatten(0, (-1, self.regions, self.regions))
        return x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)[:, :, :height, :width]
