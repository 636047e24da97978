"""A model without its head: the maps that it would read, as `timm.create_model(..., features_only=True)` gives them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from zoo import places
from zoo.detector import Grafted


class FeatureInfo(list[dict[str, Any]]):
    """One entry a map: `num_chs`, `reduction` (pixels of the image to one of the map), `module` and `place`."""

    def channels(self) -> list[int]:
        """Channels of every map."""
        return [entry["num_chs"] for entry in self]

    def reduction(self) -> list[int]:
        """Stride of every map."""
        return [entry["reduction"] for entry in self]

    def module_name(self) -> list[str]:
        """The layer that each map is the output of, with its graft."""
        return [entry["module"] for entry in self]


class Features(nn.Module):
    """Backbone and neck of a model, grafts included.

    Args:
        model: Whose layers are shared, not copied.

    Shape:
        `(B, 3, H, W)`, H and W multiples of the largest stride, to a list of maps, the finest first.
    """

    def __init__(self, model: Grafted) -> None:
        super().__init__()
        self.model = model
        table = places.layers(places.read(model.config))
        self.feature_info = FeatureInfo(
            {
                "num_chs": table[index].channels,
                "reduction": table[index].stride,
                "module": f"model.{index}",
                "place": table[index].places[-1],
            }
            for index in model.model[-1].f
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs: list[Any] = []
        for layer in self.model.model[:-1]:
            x = self.model.attend(layer, layer(self.model.gather(layer, x, outputs)), outputs)
        return [outputs[index] for index in self.model.model[-1].f]
