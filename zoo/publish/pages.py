"""One page a family for the Hub: the weights there are, how good they are, and where."""

from __future__ import annotations

from zoo.names import parse
from zoo.weights import manifest


def families(org: str) -> dict[str, str]:
    """The page of each family that has weights, as Markdown, by the name of its repository.

    Args:
        org: Owner of the repositories that the pages point to.
    """
    rows: dict[str, list[str]] = {}
    for full_name, entry in manifest.entries().items():
        name = parse(full_name)
        family = f"{name.base}_{name.family}" if name.family else name.base
        scores = "; ".join(
            f"{split} {metric} {value:.3f}"
            for split, metrics in entry.metrics.items()
            for metric, value in metrics.items()
        )
        kind = "adapter" if entry.base_tensors else "whole model"
        row = [f"[{full_name}](https://huggingface.co/{org}/{full_name})", entry.dataset, kind, scores, entry.license]
        rows.setdefault(family, []).append(f"| {' | '.join(row)} |")
    head = "| weights | data | what | metrics | licence |\n|---|---|---|---|---|"
    return {family: _FRONT + _text(family) + "\n".join([head, *lines]) + "\n" for family, lines in rows.items()}


_FRONT = """---
license: agpl-3.0
library_name: yolo-attention-zoo
pipeline_tag: object-detection
---

"""


def _text(family: str) -> str:
    return (
        f"# {family}\n\nWeights of this family of yolo-attention-zoo; each has a repository and a card of its own.\n\n"
    )
