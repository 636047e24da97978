"""The weights of this repository: adding some, and proving that they are what the manifest says."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from zoo import assets
from zoo.errors import SourceError, WeightsError, ZooError
from zoo.factory import create
from zoo.files import MODEL_FILE, replacing, sha256
from zoo.report import cards
from zoo.weights import find, manifest, saved
from zoo.weights.manifest import Entry


@dataclass(frozen=True)
class Facts:
    """What a file of weights does not say of itself; each as in `zoo.weights.manifest.Entry`."""

    dataset: str
    dataset_license: str
    dataset_source: str
    imgsz: int
    metrics: Mapping[str, Mapping[str, float]]
    recipe: str
    commit: str
    versions: Mapping[str, str]
    started_from: str = ""
    license: str = "AGPL-3.0"


@dataclass(frozen=True)
class Verdict:
    """What is wrong with some weights; nothing if `failures` is empty."""

    name: str
    failures: tuple[str, ...]


def add(directory: Path, name: str, facts: Facts, *, base_weights: str | Path | None = None) -> Entry:
    """Take a saved model into the repository: file in `weights/`, entry in the manifest, card.

    Args:
        directory: What `zoo.save` wrote.
        name: `"<architecture>.<tag>"`.
        facts: Of the training.
        base_weights: For an adapter, the base it was trained over.

    Raises:
        ManifestError: The name or a fact is malformed; the repository is as it was.
        WeightsError: The directory does not hold a model.
    """
    manifest.check_name(name)
    model = create(f"local-dir:{directory}", base_weights=base_weights)
    file = assets.root() / "weights" / f"{name}.safetensors"
    source = directory / MODEL_FILE
    entry = Entry(
        sha256=sha256(source),
        bytes=source.stat().st_size,
        sources=(f"repo:weights/{file.name}",),
        num_classes=model.config.num_classes,
        class_names=model.config.class_names or tuple(map(str, range(model.config.num_classes))),
        known_answer=known_answer(model),
        base_tensors=saved.read_saved(directory).base_tensors or "",
        **vars(facts),
    )
    with replacing(file) as temporary:
        shutil.copyfile(source, temporary)
    manifest.add(name, entry)
    cards.write(name)
    return entry


def known_answer(model: nn.Module) -> tuple[float, ...]:
    """Output of a detector for one fixed image: at every 25th anchor the box, in pixels, and the mean class logit.

    The image, `(1, 3, 64, 96)`, is computed from indices alone, so every machine makes the same one.
    """
    channel, row, column = torch.meshgrid(torch.arange(3), torch.arange(64), torch.arange(96), indexing="ij")
    image = ((37 * channel + 7 * row + 13 * column + row * column) % 256) / 255
    with torch.inference_mode():
        output = model(image[None])[0][0]
    boxes, logits = output[:4, ::25], output[4:, ::25].logit(eps=1e-7).mean(0, keepdim=True)
    return tuple(round(value, 4) for value in torch.cat([boxes, logits]).flatten().tolist())


def verify(names: Iterable[str] = ()) -> list[Verdict]:
    """Check manifest entries against the world.

    For each: the file is there, of the stated size and sha256, loads strictly, has the stated classes, gives the
    known answer, and its card is what would be generated.

    Args:
        names: `"<architecture>.<tag>"` or `"<architecture>"`, all entries when empty.

    Raises:
        ManifestError: The manifest is malformed.
        UnknownTagError: A name's tag is not in it.
        NoWeightsError: A name's architecture has no weights.
    """
    wanted = [manifest.find(name)[0] for name in names] or list(manifest.entries())
    return [Verdict(name, tuple(_failures(name, manifest.find(name)[1]))) for name in wanted]


def verify_folder(directory: Path) -> list[Verdict]:
    """Check the files of a folder that `ZOO_WEIGHTS_DIR` may name, against the manifest; absent ones have no verdict.

    Raises:
        SourceError: There is no such folder, or none of the weights in it.
    """
    files = {find.file_name(name): name for name in manifest.entries()}
    verdicts = []
    for file in sorted(directory.glob("*.safetensors")):
        name = files.get(file.name)
        try:
            if name is None:
                raise WeightsError("the manifest has no weights of this file name.")
            entry = manifest.entries()[name]
            find.verified(file, entry.sha256, entry.bytes)
            verdicts.append(Verdict(name, ()))
        except WeightsError as error:
            verdicts.append(Verdict(name or file.name, (str(error),)))
    if not verdicts:
        raise SourceError(f"no weights in {directory}; `zoo pull {directory}` puts some there.")
    return verdicts


def _failures(name: str, entry: Entry) -> Iterable[str]:
    try:
        model = create(name, pretrained=True, base_weights=bool(entry.base_tensors) or None)
    except ZooError as error:
        yield str(error)
        return
    found = known_answer(model)
    off = [abs(a - b) > 0.01 + 0.001 * abs(b) for a, b in zip(found, entry.known_answer, strict=False)]
    if len(found) != len(entry.known_answer):
        yield f"the manifest has no known answer of {len(found)} numbers."
    elif any(off):
        yield f"{sum(off)} of {len(off)} numbers of the output differ from the known answer."
    card = cards.path(name)
    if not card.parent.is_dir():
        return  # an installed package, which has no cards
    if not card.is_file():
        yield f"no card at {card}; write it with `zoo card {name}`."
    elif card.read_text(encoding="utf-8") != cards.render(name):
        yield f"{card} is not what would be generated; write it with `zoo card {name}`."
