"""Several adapters over one base in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.config import STEM
from zoo.detector import Grafted, build
from zoo.errors import OptionError
from zoo.names import Name, hint, parse
from zoo.weights import adapter, checkpoint, official, saved
from zoo.weights.tensors import load_into


class Adapters:
    """Models of many domains that share the tensors of one base, one of them in use at a time.

    What an adapter does not hold is the base's very tensor: a further adapter costs its own tensors, and switching is
    choosing an object. They are for inference; training makes them.

    Args:
        base: The file of the base, or a name that Ultralytics publishes, as `base_weights` of `zoo.create`.
        folders: Adapters by the name to use them under: folders, `local-dir:` or `hf-hub:` names.
        device: Where all of them live.

    Raises:
        WeightsError: A file cannot be found, verified or read, or an adapter was trained over another base.
        OptionError: One of the folders holds a whole model.
    """

    def __init__(
        self, base: str | Path, folders: Mapping[str, str | Path] | None = None, *, device: str = "cpu"
    ) -> None:
        self._device = device
        self._base = official.read(checkpoint.find(base)).tensors
        self._shared: dict[str, Tensor] = {}
        self._models: dict[str, Grafted] = {}
        self._active: str | None = None
        for name, folder in (folders or {}).items():
            self.add(name, folder)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the adapters, in the order they were added."""
        return tuple(self._models)

    def add(self, name: str, folder: str | Path) -> Grafted:
        """Load one more adapter, or another one under a name; returns its model, in eval mode.

        Raises:
            WeightsError: As in the constructor.
            OptionError: As in the constructor.
        """
        found = saved.read_saved(_local(folder))
        if found.base_tensors is None:
            raise OptionError(f"{folder} is a whole model; zoo.save(model, DIR, adapter=True) leaves the base out.")
        model = build(found.config)
        lent = adapter.lent(model, found.tensors, self._base, found.base_tensors)
        load_into(model, {**lent, **found.tensors})
        model.to(self._device).requires_grad_(False)
        for key in lent:
            self._share(model, key)
        self._models[name] = model
        return model

    def use(self, name: str) -> Grafted:
        """Choose the adapter that calls go to; returns its model.

        Raises:
            OptionError: There is none of this name.
        """
        model = self._find(name)
        self._active = name
        return model

    def __call__(self, images: Tensor) -> Any:
        """What the model in use returns for images `(B, 3, H, W)`.

        Raises:
            OptionError: None is in use.
        """
        if self._active is None:
            raise OptionError(f"no adapter is in use; call use(NAME) first. {hint('', self._models)}")
        return self._models[self._active](images)

    def run(self, images: Tensor, names: Iterable[str] | None = None) -> dict[str, Any]:
        """Run one batch through several adapters, and the layers that they share up to the first graft once.

        Args:
            images: `(B, 3, H, W)` with H, W multiples of the largest stride.
            names: Which adapters; all when omitted.

        Returns:
            By name, what each model returns.

        Raises:
            OptionError: There is none of some name.
        """
        chosen = {name: self._find(name) for name in (self._models if names is None else names)}
        models = list(chosen.values())
        if not (shared := shared_layers(models)):
            return {name: model(images) for name, model in chosen.items()}
        first, x = models[0], images
        prefix: list[Tensor | None] = []
        for layer in first.model[: shared - 1]:
            x = first.attend(layer, layer(first.gather(layer, x, prefix)), prefix)
        last = first.model[shared - 1]
        x = last(first.gather(last, x, prefix))
        return {name: _finish(model, shared, x, list(prefix)) for name, model in chosen.items()}

    def _find(self, name: str) -> Grafted:
        if name not in self._models:
            raise OptionError(f"no adapter is called {name!r:.80}. {hint(name, self._models)}")
        return self._models[name]

    def _share(self, model: nn.Module, key: str) -> None:
        owner, _, name = key.rpartition(".")
        holder = model.get_submodule(owner)
        kept = self._shared.setdefault(key, getattr(holder, name))
        setattr(holder, name, kept)


def _local(folder: str | Path) -> Path:
    wanted = parse(folder) if str(folder).startswith(("local-dir:", "hf-hub:")) else Name(path=Path(folder))
    if wanted.kind != "hf-hub":
        return wanted.path
    from zoo.weights import hub

    return hub.snapshot(wanted.repo, wanted.revision)


def shared_layers(models: list[Grafted]) -> int:
    """How many stock layers, from the first on, compute the same in all models: up to a graft or a difference."""
    if not models:
        return 0
    first, *others = models
    grafted = {position for model in models for position in model.grafts}
    for index, layer in enumerate(first.model):
        before = STEM if index == 0 else str(index - 1)
        if before in grafted or not all(_same(layer, other.model[index]) for other in others):
            return index
    return len(first.model)


def _same(layer: nn.Module, other: nn.Module) -> bool:
    mine, theirs = layer.state_dict(keep_vars=True), other.state_dict(keep_vars=True)
    return mine.keys() == theirs.keys() and all(
        mine[key] is theirs[key] or not mine[key].is_floating_point() or torch.equal(mine[key], theirs[key])
        for key in mine
    )


def _finish(model: Grafted, done: int, x: Any, outputs: list[Any]) -> Any:
    """The rest of a forward pass, from the graft on the layer that was computed last."""
    x = model.attend(model.model[done - 1], x, outputs)
    for layer in model.model[done:]:
        x = model.attend(layer, layer(model.gather(layer, x, outputs)), outputs)
    return x
