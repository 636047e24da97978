"""Verbs that look at models: list, info, card, verify."""

from __future__ import annotations

import json
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path

import zoo
from zoo import places
from zoo.cli import table
from zoo.cli.arguments import Add
from zoo.errors import OptionError, UnknownBlockError, UnknownModelError, WeightsError
from zoo.layers.blocks import describe
from zoo.names import parse
from zoo.weights import manifest


def add_verbs(add: Add) -> None:
    """Add this module's verbs to the command line."""
    listing = add(list_models, "list")
    listing.add_argument("pattern", nargs="?", default="*", help="names to show, e.g. 'yolov8s_*'")
    listing.add_argument("--pretrained", action="store_true", help="trained weights, as ARCHITECTURE.TAG")
    listing.add_argument("--blocks", action="store_true", help="what can be grafted, with papers and warnings")
    listing.add_argument("--json", action="store_true", dest="as_json", help="print JSON")

    add(info).add_argument("name", metavar="NAME", help="a name that `zoo list` prints")
    add(card).add_argument("name", metavar="NAME", nargs="?", help="ARCHITECTURE or ARCHITECTURE.TAG")
    verifying = add(verify)
    verifying.add_argument("names", metavar="NAME", nargs="*", help="ARCHITECTURE or ARCHITECTURE.TAG")
    verifying.add_argument("--dir", dest="folder", metavar="DIR", type=Path, help="a folder that `zoo pull` filled")


def list_models(pattern: str, pretrained: bool, blocks: bool, as_json: bool) -> None:
    """List the models, their trained weights, or the blocks.

    GFLOPs are those of one image of 640 x 640 pixels; tags are the trained weights, the default first. What has not
    been counted yet shows no numbers; `zoo info NAME` counts it.
    """
    if blocks:
        _list_blocks(pattern, as_json)
        return
    names = zoo.list_models(pattern, pretrained=pretrained)
    if not names:
        what = "weights match" if pretrained else "model matches"
        raise UnknownModelError(f"no {what} {pattern!r}; patterns are like 'yolov8?_dattn', and `zoo list` shows all.")
    if pretrained:
        _list_weights(names, as_json)
        return
    rows = [(name, zoo.model_info(name)) for name in names]
    if as_json:
        counts = ("params", "gflops", "base_params", "base_gflops")
        records = [
            {"name": name, "base": i.base, **{key: getattr(i, key) if i.measured else None for key in counts}}
            | {"tags": i.tags}
            for name, i in rows
        ]
        print(json.dumps(records, indent=2))
        return
    sizes = [[f"{i.params / 1e6:.2f}", f"{i.gflops:.1f}"] if i.measured else ["", ""] for _, i in rows]
    table.show(
        ["name", "base", "params M", "GFLOPs", "tags"],
        [[name, i.base, *size, ", ".join(i.tags)] for (name, i), size in zip(rows, sizes, strict=True)],
    )


def _list_weights(names: list[str], as_json: bool) -> None:
    entries = {name: manifest.find(name)[1] for name in names}
    if as_json:
        facts = [{"name": name, **entry.to_dict()} for name, entry in entries.items()]
        print(json.dumps([{key: fact[key] for key in fact if key != "known_answer"} for fact in facts], indent=2))
        return
    rows = []
    for name, entry in entries.items():
        split, metrics = next(iter(entry.metrics.items()), ("", {}))
        score = metrics.get("mAP50-95")
        shown = "" if score is None else f"{score:.3f} on {split}"
        size = f"{entry.bytes / 1e6:.1f}"
        rows.append([name, entry.dataset, str(entry.num_classes), str(entry.imgsz), shown, size, entry.license])
    table.show(["name", "trained on", "classes", "pixels", "mAP50-95", "MB", "licence"], rows)


def _list_blocks(pattern: str, as_json: bool) -> None:
    found = [block for block in describe() if fnmatchcase(block.name, pattern)]
    if not found:
        raise UnknownBlockError(f"no block matches {pattern!r}; `zoo list --blocks` shows all.")
    if as_json:
        print(json.dumps([{**asdict(block), "paper": block.paper and block.paper.link} for block in found], indent=2))
        return
    table.show(
        ["block", "by", "what it does", "source"],
        [[block.name, block.origin, block.idea, block.paper.link if block.paper else ""] for block in found],
    )
    for block in found:
        if block.warning:
            print(f"{block.name}: {block.warning}")


def info(name: str) -> None:
    """Describe one model, or the weights of a tag.

    Its grafts, what they cost, its weights and how well they do; of a plain model, the places that grafts can take.
    With a tag, where those weights come from and what they know.
    """
    model = zoo.model_info(name)
    if parse(name).tag:
        _describe_weights(name)
        return
    layers = places.layers(places.read(model.config))
    print(model.name)
    for graft in model.grafts:
        options = ", ".join(f"{key}={value}" for key, value in graft.options.items())
        print(f"  graft    {graft.block}({options}) on {places.named(graft.position, layers)}")
    added = (model.params / model.base_params - 1, model.gflops / model.base_gflops - 1)
    print(f"  params   {model.params / 1e6:.2f} M ({added[0]:+.1%} over {model.base})")
    print(f"  GFLOPs   {model.gflops:.1f} at 640 px ({added[1]:+.1%} over {model.base})")
    if not model.measured:
        print("           counted just now: results/models.csv has no row of it")
    for tag in model.tags:
        scores = "; ".join(
            f"{split} " + ", ".join(f"{metric} {value:.3f}" for metric, value in values.items())
            for split, values in model.metrics[tag].items()
        )
        print(f"  weights  {model.name}.{tag}: {scores}")
    if not model.tags:
        print("  weights  none")
    if not model.grafts:
        rows = [["image", "", "", "1", "3"]]
        rows += [[", ".join(i.places), str(i.index), i.module, str(i.stride), str(i.channels)] for i in layers[:-1]]
        table.show(["place", "index", "module", "stride", "channels"], rows)


def _describe_weights(name: str) -> None:
    name, entry = manifest.find(name)
    facts = {
        "classes": f"{entry.num_classes}: {', '.join(entry.class_names)}",
        "pixels": f"{entry.imgsz}, the longer side",
        "trained on": f"{entry.dataset} {entry.dataset_source}, licence {entry.dataset_license or 'unknown'}",
        "started from": entry.started_from or "random weights",
        **{
            f"on {split}": ", ".join(f"{metric} {value:.3f}" for metric, value in metrics.items())
            for split, metrics in entry.metrics.items()
        },
        "licence": entry.license,
        "bytes": str(entry.bytes),
        "sha256": entry.sha256,
        "sources": ", ".join(entry.sources),
        "recipe": entry.recipe,
        "commit": entry.commit,
        "versions": ", ".join(f"{package} {version}" for package, version in entry.versions.items()),
    }
    print(name)
    for key, value in facts.items():
        print(f"  {key:<13}{value}")


def verify(names: list[str], folder: Path | None) -> None:
    """Check weights: file, hash, tensors, known output, card.

    All of them when no NAME is given. --dir checks size and hash of the files in a folder that `zoo pull` filled.
    """
    from zoo.publish import repository

    if folder and names:
        raise OptionError("--dir checks what is in the folder; leave NAME out.")
    verdicts = repository.verify_folder(folder) if folder else repository.verify(names)
    for verdict in verdicts:
        print(f"{verdict.name}: {' '.join(verdict.failures) or 'ok'}")
    wrong = sum(bool(verdict.failures) for verdict in verdicts)
    if wrong:
        raise WeightsError(f"{wrong} of {len(verdicts)} weights are not what the manifest says.")


def card(name: str | None) -> None:
    """Write the model cards.

    All of them when no NAME is given.
    """
    from zoo.report import cards

    for path in cards.write(name):
        print(path)
