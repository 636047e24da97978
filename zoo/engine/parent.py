"""The weights that a training starts from, as its `run.json` names them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo import registry
from zoo.files import MODEL_FILE, sha256
from zoo.names import parse
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
        trained weights of the zoo's, `run` for what a training or `zoo.save` left.

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
        folder = hub.snapshot(name.repo, name.revision)
        return {"source": spelling, "sha256": sha256(folder / MODEL_FILE), "kind": "zoo"}
    if name.kind == "file":
        return _file(name.path) if name.path.suffix == ".pt" else None
    if base := options.get("base_weights"):
        source = f"{model.config.base_name}.pt" if base is True else str(base)
        return {"source": source, "sha256": model.yaml["base_sha256"], "kind": "base"}
    if options.get("pretrained"):
        full_name, entry = manifest.find(spelling)
        return {"source": full_name, "sha256": entry.sha256, "kind": "zoo"}
    return None


def _file(path: Path) -> dict[str, str]:
    official = path.stem in registry.names() and not registry.get_config(path.stem).grafts
    return {"source": str(path), "sha256": sha256(checkpoint.find(path)), "kind": "base" if official else "run"}
