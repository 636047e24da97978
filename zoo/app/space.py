"""A Hugging Face Space that runs as it is: this package, the weights at hand, and the three files a Space needs."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

from zoo import assets
from zoo.errors import OptionError
from zoo.examples import examples
from zoo.weights import find, manifest

APP = '''"""The demo of yolo-attention-zoo, as `zoo app --space` wrote it."""

from zoo.app.page import build

build().launch(max_file_size="20mb")
'''
README = """---
title: yolo-attention-zoo
emoji: 🔍
colorFrom: indigo
colorTo: yellow
sdk: gradio
sdk_version: {gradio}
app_file: app.py
license: agpl-3.0
---

Detections of YOLO models with attention grafts, with the grafts and without, and what the grafts look at.
"""


def write(folder: Path) -> Path:
    """Write a Space; the folder is whole afterwards, or was not made.

    Args:
        folder: Must not exist, or be empty.

    Raises:
        OptionError: The folder holds something.
    """
    if folder.exists() and any(folder.iterdir()):
        raise OptionError(f"{folder} is not empty; a Space is written into a new folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as made:
        space = Path(made, "space")
        package = Path(__file__).parents[1]
        shutil.copytree(package, space / "zoo", ignore=shutil.ignore_patterns("__pycache__", "_data"))
        _copy_data(space / "zoo" / "_data")
        (space / "app.py").write_text(APP, encoding="utf-8")
        (space / "README.md").write_text(README.format(gradio=metadata.version("gradio")), encoding="utf-8")
        (space / "requirements.txt").write_text("\n".join(_requirements()) + "\n", encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        os.replace(space, folder)
    return folder


def _copy_data(data: Path) -> None:
    """The default weights of every model and those of the examples, the manifest of just these, and measured tables."""
    (data / "weights").mkdir(parents=True)
    listed = json.loads(manifest.path().read_text(encoding="utf-8"))
    defaults = {name.partition(".")[0]: name for name in reversed(manifest.entries())}
    wanted = {*defaults.values(), *(name for name, _ in examples())}
    kept = {name: entry for name, entry in listed["weights"].items() if name in wanted}
    for name in kept:
        shutil.copyfile(find.resolve(name), data / "weights" / f"{name}.safetensors")
    (data / "weights_manifest.json").write_text(json.dumps(listed | {"weights": kept}), encoding="utf-8")
    shutil.copytree(
        assets.root() / "results", data / "results", ignore=shutil.ignore_patterns("*.html", "scans", "runs")
    )


def _requirements() -> list[str]:
    """What the package needs for the page, as its metadata say."""
    needed = metadata.requires("yolo-attention-zoo") or []
    return [
        re.split(r"\s*;", each)[0]
        for each in needed
        if "extra ==" not in each or 'extra == "app"' in each.replace("'", '"')
    ]
