"""What packages carry beside the code: the lists, and of each family the weights that the manifest names first.

Other tags come from a checkout, from the folder that `ZOO_WEIGHTS_DIR` names, or from the Hub.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TABLES = ("models.csv", "exports.csv")
"""Of `results/`: those that `zoo list`, `zoo info` and `zoo export` read."""


class CustomBuildHook(BuildHookInterface):
    """Adds files of the checkout to the wheel, below `zoo/_data`, and the weights among them to the source too."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files; `version` and `build_data` as in Hatchling's documentation."""
        root, weights = Path(self.root), default_weights(Path(self.root))
        if self.target_name == "sdist":
            build_data["force_include"] |= {str(root / file): file for file in weights}
            return
        files = ["weights_manifest.json", *(f"results/{name}" for name in TABLES), *weights]
        build_data["force_include"] |= {str(root / file): f"zoo/_data/{file}" for file in files}


def default_weights(root: Path) -> list[str]:
    """The `repo:` files of the first entry of each family in the manifest, relative to the root."""
    first: dict[str, str] = {}
    for name, entry in json.loads((root / "weights_manifest.json").read_text(encoding="utf-8"))["weights"].items():
        architecture = name.partition(".")[0]
        family = re.sub(r"^([a-z]+\d+)[nsmlx]", r"\1", architecture)
        for source in entry["sources"]:
            if source.startswith("repo:"):
                first.setdefault(family, source.removeprefix("repo:"))
    return sorted(first.values())
