"""Adapters: what training over a frozen base added to it, kept without the base.

A folder as `zoo.save` writes it, whose tensors are the grafts, the head and, where the base's batch norms went on
learning, those; everything else comes from the base, which is recognised by a fingerprint of the tensors it lends. As
in every saved model, tensors are of half precision, those of the base too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from zoo.errors import IntegrityError
from zoo.weights.tensors import halved

if TYPE_CHECKING:
    from zoo.detector import Grafted


def part(model: Grafted, *, norm: bool = False) -> dict[str, Tensor]:
    """The tensors of a model that make an adapter.

    Args:
        model: Trained with `freeze_base`.
        norm: With the batch norms of the base, as `freeze_base="norm"` trains them.
    """
    own = ["grafts.", f"model.{len(model.model) - 1}."]
    if norm:
        parts = model.model[:-1].named_modules()
        own += [f"model.{name}." for name, module in parts if isinstance(module, nn.BatchNorm2d)]
    return {key: tensor for key, tensor in model.state_dict().items() if key.startswith(tuple(own))}


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Hexadecimal sha256 of names, shapes and half-precision values of floating-point tensors, whatever their order."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        if tensors[key].is_floating_point():
            values = halved(tensors[key]).detach().cpu().contiguous()
            digest.update(f"{key} {tuple(values.shape)} {values.dtype}\n".encode())
            digest.update(values.numpy().tobytes())
    return digest.hexdigest()


def lent(model: nn.Module, own: Mapping[str, Tensor], base: Mapping[str, Tensor], expected: str) -> dict[str, Tensor]:
    """The tensors that a base lends to an adapter, in half precision.

    Args:
        model: The architecture that both make up.
        own: The adapter's tensors.
        base: The base's.
        expected: Fingerprint of what the base must lend.

    Raises:
        IntegrityError: It is another base.
    """
    wanted = {key: tensor.shape for key, tensor in model.state_dict().items() if key not in own}
    odd = [key for key, shape in wanted.items() if key not in base or base[key].shape != shape]
    if odd:
        raise IntegrityError(
            f"this adapter was trained over another base: the one given has no {odd[0]} of the shape "
            f"{tuple(wanted[odd[0]])}, nor {len(odd) - 1} others of {len(wanted)}. Nothing was loaded."
        )
    tensors = {key: halved(base[key]) for key in wanted}
    if (found := fingerprint(tensors)) != expected:
        raise IntegrityError(
            f"this adapter was trained over another base: the tensors it needs have the fingerprint {expected[:12]}, "
            f"those of the one given {found[:12]}. Nothing was loaded."
        )
    return tensors
