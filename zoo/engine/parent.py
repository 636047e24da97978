"""The weights that a training starts from, as its `run.json` names them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

from zoo.files import MODEL_FILE, sha256
from zoo.names import Name, parse
from zoo.weights import checkpoint, hub, manifest


def of(spelling: str, options: Mapping[str, Any], model: Any, pretrained: Any = None) -> dict[str, str] | None:
    """Source, sha256 and kind of some weights.

    Args:
        spelling: What was loaded: a name or a file.
        options: Of `zoo.create`.
        model: What came of it.
        pretrained: Ultralytics' setting of this name: a checkpoint in place of what was loaded, or `False` for none.

    Returns:
        `None` for a training from scratch; else its `kind` is `base` for official weights of a plain model, `zoo` for
        trained weights of the zoo's, `run` for what a training or `zoo.save` left, also where it is the base of grafts.

    Raises:
        SourceError: There is no such file.
    """
    if isinstance(pretrained, str | Path):
        return _file(Path(pretrained))
    if pretrained is False:
        return None
    name = parse(spelling)
    if name.kind == "local-dir":
        return {"source": spelling, "sha256": sha256(name.path / MODEL_FILE), "kind": "run"}
    if name.kind == "hf-hub":
        return {"source": spelling, "sha256": sha256(_loaded(name)), "kind": "zoo"}
    if name.kind == "file":
        return _file(name.path) if name.path.suffix == ".pt" else None
    if base := options.get("base_weights"):
        source = f"{model.config.base_name}.pt" if base is True else str(base)
        return {"source": source, "sha256": model.yaml["base_sha256"], "kind": _kind(Path(source))}
    if options.get("pretrained"):
        full_name, entry = manifest.find(spelling)
        return {"source": full_name, "sha256": entry.sha256, "kind": "zoo"}
    return None


def _file(path: Path) -> dict[str, str]:
    return {"source": str(path), "sha256": sha256(checkpoint.find(path)), "kind": _kind(path)}


def _kind(path: Path) -> str:
    """`base` for a file that is called as Ultralytics calls one that it publishes."""
    return "base" if f"{path.stem}.pt" in GITHUB_ASSETS_NAMES else "run"


def _loaded(name: Name) -> Path:
    """What came from the Hub when the model was loaded: asked again, it might have a newer commit."""
    found = try_to_load_from_cache(name.repo, MODEL_FILE, revision=name.revision)
    return Path(found) if isinstance(found, str) else hub.snapshot(name.repo, name.revision) / MODEL_FILE
