"""Model cards: generated from the registry, the manifest, `results/` and records of trainings. No torch here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
from huggingface_hub import EvalResult, ModelCardData

from zoo import assets, registry
from zoo.config import ModelConfig
from zoo.errors import UnknownModelError
from zoo.files import write_text
from zoo.info import model_info
from zoo.layers.mechanisms import MECHANISMS
from zoo.names import parse
from zoo.report import drawing, facts, runs
from zoo.report.comparison import METRIC
from zoo.report.runs import Run
from zoo.weights import manifest
from zoo.weights.manifest import Entry

PICTURE = "predictions.jpg"

_PIPELINES = {"segment": "image-segmentation", "pose": "keypoint-detection"}
_INSTALL = "pip install -e .  # in a checkout of yolo-attention-zoo"


def path(name: str) -> Path:
    """The card's file."""
    return assets.root() / "cards" / f"{name}.md"


def names() -> list[str]:
    """What has a card: every entry of the manifest, and every architecture without weights."""
    return [name for arch in registry.names() for name in [f"{arch}.{tag}" for tag in manifest.tags(arch)] or [arch]]


def render(name: str, repo_id: str | None = None) -> str:
    """The card of trained weights (`"<architecture>.<tag>"`) or of an architecture, as Markdown.

    Args:
        name: What `names` lists.
        repo_id: For the card in that repository of the Hub, which cannot name its own commit.

    Raises:
        UnknownModelError: No such model.
        UnknownTagError: No such tag of the model.
        NoWeightsError: A tag of a model that has none.
    """
    architecture, tag = parse(name).architecture, parse(name).tag
    config = registry.get_config(architecture)
    size = facts.size(model_info(architecture))
    if tag is None:
        results = [{"text": "No trained weights of this architecture are published."}, *facts.of_family(config)]
        use = _train_it(config)
        return _card(name, config, what=facts.what(config), size=size, results=results, use=use, untrained=True)
    _, entry = manifest.find(name)
    return _card(
        name,
        config,
        metrics=_metrics_of(entry),
        what=facts.what(config, entry.dataset),
        adapter=_over(config, entry.base_tensors or None)[1],
        size=size,
        training=_training(entry),
        results=[_shipped(entry), *facts.of_weights(config, tag, entry)],
        limits=_limits(entry.num_classes, entry.dataset, entry.imgsz, entry.started_from),
        use=_load_it(name, entry, repo_id),
        licences=(entry.license, entry.dataset_license),
    )


def render_model(config: ModelConfig, address: str, base_tensors: str | None = None) -> str:
    """The card of somebody's own model, of whose training nothing is known; it claims no metrics.

    Args:
        config: Of the model.
        address: What `zoo.create` takes.
        base_tensors: For an adapter, the fingerprint of what its base lends it.
    """
    classes = config.class_names or [str(config.num_classes)]
    base, adapter = _over(config, base_tensors)
    code = f'import zoo\n\nmodel = zoo.create("{address}"{base})'
    return _card(
        config.name, config, what=facts.what(config), classes=classes, adapter=adapter, use=[_code("python", code)]
    )


def render_run(
    config: ModelConfig, run: Run, address: str, base_tensors: str | None = None, *, picture: bool = False
) -> str:
    """The card of a model that a training left, with what its record says.

    Args:
        config: Of the model.
        run: Of its training.
        address: What `zoo.create` takes.
        base_tensors: As in `render_model`.
        picture: Whether `PICTURE` lies beside the card.
    """
    data = str(run.data.get("name") or "its training data")
    base, adapter = _over(config, base_tensors, run)
    code = f"""import zoo
from ultralytics.utils import ASSETS  # two pictures that come with Ultralytics

model = zoo.YOLO("{address}"{base})
for found in model.predict(ASSETS / "bus.jpg", imgsz={run.imgsz}):
    print(found.boxes.cls, found.boxes.conf, found.boxes.xyxy)"""
    return _card(
        config.name,
        config,
        metrics=_metrics_of_run(run),
        datasets=[_slug(data)],
        base_model=_base_model(config, run),
        what=facts.what(config, data),
        classes=config.class_names or [str(config.num_classes)],
        adapter=adapter,
        picture=PICTURE if picture else "",
        training=facts.training_of(run),
        results=facts.results_of(run),
        limits=_limits(config.num_classes, data, run.imgsz or config.imgsz),
        use=[_code("", _INSTALL), _code("python", code)],
    )


def render_folder(config: ModelConfig, folder: Path, address: str, base_tensors: str | None = None) -> str:
    """The card of a saved model: with the record of its training where the folder is in `weights` of a run.

    Args:
        config: Of the model.
        folder: Where it lies.
        address: What `zoo.create` takes.
        base_tensors: As in `render_model`.

    Raises:
        DataError: There is a `run.json`, and it is malformed.
    """
    run = folder.resolve().parent.parent
    if folder.resolve().parent.name != "weights" or not (run / runs.RECORD).is_file():
        return render_model(config, address, base_tensors)
    return render_run(config, runs.load(run), address, base_tensors, picture=(folder / PICTURE).is_file())


def write(name: str | None = None) -> list[Path]:
    """Write the cards of `name`, or every card, and delete the cards of what is gone.

    Args:
        name: `"<architecture>.<tag>"`, or `"<architecture>"` for all of its tags.

    Raises:
        UnknownModelError: No such model.
        UnknownTagError: No such tag of the model.
        NoWeightsError: A tag of a model that has none.
    """
    wanted = names()
    own = [each for each in wanted if name in (None, each, parse(each).architecture)]
    if not own:
        render(str(name))  # which says what is wrong with a name of nothing
        raise UnknownModelError(f"{name} has no card: there is one of each model that `zoo list` prints.")
    written = []
    for each in own:
        write_text(path(each), render(each))
        written.append(path(each))
    for card in (assets.root() / "cards").glob("*.md"):
        if card.stem not in wanted:
            card.unlink()
    return written


def _card(
    name: str,
    config: ModelConfig,
    *,
    metrics: list[EvalResult] | None = None,
    datasets: list[str] | None = None,
    base_model: str | None = None,
    **sections: Any,
) -> str:
    data = ModelCardData(
        license="agpl-3.0",
        library_name="yolo-attention-zoo",
        pipeline_tag=_PIPELINES.get(config.task, "object-detection"),
        tags=["yolo", "attention", *sorted({graft.block for graft in config.grafts})],
        datasets=datasets,
        base_model=base_model,
        model_name=name,
        eval_results=metrics or None,
    )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("zoo.report"), trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["cell"] = _cell
    papers = dict.fromkeys(MECHANISMS[graft.block].paper for graft in config.grafts if graft.block in MECHANISMS)
    text = environment.get_template("card.md").render(
        name=name,
        front=data.to_yaml(),
        grafted=bool(config.grafts),
        drawing=drawing.draw(config),
        papers=list(filter(None, papers)),
        **sections,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _cell(text: object) -> str:
    """Text that a table's cell can hold."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;")


def _code(language: str, text: str) -> dict[str, str]:
    return {"language": language, "text": text}


def _slug(name: str) -> str:
    """A name that the Hub takes for a data set."""
    return re.sub(r"-{2,}|\.{2,}", "-", re.sub(r"[^\w.-]", "-", name, flags=re.ASCII)).strip("-.")[:96] or "data"


def _base_model(config: ModelConfig, run: Run) -> str | None:
    """The repository of the weights that training started from, where they are on the Hub."""
    parent = run.parent or {}
    if parent.get("kind") == "base":
        return f"Ultralytics/{config.base.replace('yolov', 'YOLOv').replace('yolo', 'YOLO')}"
    source = parse(parent["source"]) if str(parent.get("source", "")).startswith("hf-hub:") else None
    return source.repo if source else None


def _over(config: ModelConfig, base_tensors: str | None, run: Run | None = None) -> tuple[str, str]:
    """For an adapter, the argument that names its base, and what to know of it; empty for a whole model."""
    if base_tensors is None:
        return "", ""
    file, sha256 = f"{config.base_name}.pt", config.base_sha256
    parent = (run and run.parent) or {}
    if Path(str(parent.get("source"))).suffix in {".pt", ".safetensors"}:
        file, sha256 = Path(parent["source"]).name, parent["sha256"]
    of_sha256 = f" (sha256 {sha256})" if sha256 else ""
    return (
        f', base_weights="{file}"',
        f"This is an adapter: the grafts, the head and, if they were trained, the batch norms of the base. All else "
        f"comes from the {config.base_name} that it was trained over, `{file}`{of_sha256}, and over another base it is "
        f"refused: the tensors that the base lends have the fingerprint `{base_tensors}`.",
    )


def _metrics_of(entry: Entry) -> list[EvalResult]:
    return [
        EvalResult("object-detection", entry.dataset.lower(), entry.dataset, metric, value, dataset_split=split)
        for split, values in entry.metrics.items()
        for metric, value in values.items()
    ]


def _metrics_of_run(run: Run) -> list[EvalResult]:
    """Of the file itself: COCO's where the last epoch is the best, else Ultralytics' own of the best."""
    best = facts.best_epoch(run)
    splits = run.metrics if best is None or best["epoch"] == run.epochs.get("done") else {"val": best}
    name = str(run.data.get("name") or "data")
    return [
        EvalResult("object-detection", _slug(name), name, metric, scores[metric], dataset_split=split)
        for split, scores in splits.items()
        for metric in (METRIC, "mAP50")
        if scores.get(metric) is not None
    ]


def _training(entry: Entry) -> list[tuple[str, str]]:
    data = f"{entry.dataset}{entry.dataset_source and f': {entry.dataset_source}'}"
    versions = ", ".join(f"{name} {number}" for name, number in entry.versions.items())
    return [
        ("Data", data),
        ("Classes", ", ".join(entry.class_names)),
        ("Resolution", f"{entry.imgsz} pixels"),
        *([("Started from", entry.started_from)] if entry.started_from else []),
        (f"Command, at commit `{entry.commit}`", f"`{entry.recipe}`"),
        ("Versions", versions or "not recorded"),
    ]


def _shipped(entry: Entry) -> dict[str, Any]:
    rows = [
        [split, metric, f"{value:.3f}"] for split, values in entry.metrics.items() for metric, value in values.items()
    ]
    return {"text": "Of this very file, as stored in fp16:", "head": ["split", "metric", "value"], "rows": rows}


def _limits(num_classes: int, dataset: str, imgsz: int, started_from: str = "") -> str:
    seen = (
        "It started from other weights (above) and was trained on this alone"
        if started_from
        else "It has seen nothing else"
    )
    return f"""For detecting its {num_classes} classes in images like those of {dataset}, as a starting point for
fine-tuning, and for comparing attention mechanisms. {seen}: on other images, or at sizes far from
{imgsz} pixels, expect worse, and measure before you rely on it. Not for medical, safety or surveillance
decisions."""


def _load_it(name: str, entry: Entry, repo_id: str | None) -> list[dict[str, str]]:
    architecture = parse(name).architecture
    base, _ = _over(registry.get_config(architecture), entry.base_tensors or None)
    pushed = [repo_id] if repo_id else [s.removeprefix("hf:") for s in entry.sources if s.startswith("hf:")]
    from_hub = f'\nmodel = zoo.create("hf-hub:{pushed[0]}"{base})  # the same, from the Hub' if pushed else ""
    loaded = f"""import zoo

model = zoo.create("{name}", pretrained=True{base})  # a torch.nn.Module{from_hub}
zoo.YOLO("{name}", pretrained=True{base}).predict("image.jpg")  # the Ultralytics engine"""
    by_torch = f"""import torch

model = torch.hub.load("<checkout>", "{name}", source="local", pretrained=True{base})"""
    use = [_code("", _INSTALL), _code("python", loaded), _code("python", by_torch)]
    return use if base else [*use, _code("", f"zoo predict {name} image.jpg")]


def _train_it(config: ModelConfig) -> list[dict[str, str]]:
    """From official weights of the base, which is what a graft is for."""
    name, base = config.name, config.base_name
    code = f"""import zoo

model = zoo.create("{name}", base_weights="{base}.pt")  # computes what {base} does until it is trained
zoo.YOLO("{name}").train(data="my.yaml", pretrained="{base}.pt", epochs=100)"""
    if not config.grafts:
        code = f'import zoo\n\nzoo.YOLO("{name}").train(data="my.yaml", pretrained="{base}.pt", epochs=100)'
    commands = f"zoo train {name} pretrained={base}.pt data=my.yaml epochs=100"
    if config.grafts:
        commands += (
            f"\nzoo compare {base} {name} data=my.yaml seeds=3 epochs=50 pretrained=True  # does it help on your data?"
        )
    return [_code("", _INSTALL), _code("", commands), _code("python", code)]
