"""Write the generated tables of `README.md` from the registry, `results/` and the manifest.

Run: `python -m benchmarks.tables`, or `make tables`. A table stands between `<!-- NAME: generated -->` and
`<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import zoo
from zoo import manifest, registry
from zoo.config import BASES, SCALES, STEM
from zoo.files import write_text

README = Path(__file__).parents[1] / "README.md"


def families() -> str:
    """One row a family: where its grafts sit, and the range over the scales of what they add."""
    rows = []
    for base in BASES:
        for suffix in (name.removeprefix(f"{base}n") for name in zoo.list_models(f"{base}n*")):
            infos = [zoo.model_info(f"{base}{scale}{suffix}") for scale in SCALES]
            places = ["image" if graft.position == STEM else f"layer {graft.position}" for graft in infos[0].grafts]
            params = [info.params / info.base_params - 1 for info in infos]
            gflops = [info.gflops / info.base_gflops - 1 for info in infos]
            added = [_range(shares) if places else "" for shares in (params, gflops)]
            tags = sorted({tag for info in infos for tag in info.tags})
            exported = registry.exports(infos[0].name)
            failed = {row["format"] for row in exported if row["ok"] != "yes"}
            works = [fmt for fmt in dict.fromkeys(row["format"] for row in exported) if fmt not in failed]
            row = [f"`{base}*{suffix}`", ", ".join(places) or "none", *added, ", ".join(works), ", ".join(tags)]
            rows.append(row)
    return _table(["names", "grafts on", "added parameters", "added GFLOPs", "exports", "weights"], rows)


def models() -> str:
    """One row a registered name."""
    rows = []
    for name in zoo.list_models():
        info = zoo.model_info(name)
        rows.append([f"`{name}`", f"{info.params / 1e6:.2f}", f"{info.gflops:.1f}", ", ".join(info.tags)])
    return _table(["name", "parameters, M", "GFLOPs", "weights"], rows)


def weights() -> str:
    """One row for each set of trained weights, with the metrics of its manifest entry."""
    rows = []
    for name in zoo.list_models(pretrained=True):
        entry = manifest.entries()[name]
        row = [f"`{name}`", entry.dataset, str(entry.num_classes), str(entry.imgsz), f"{entry.bytes / 1e6:.1f}"]
        for split in ("val", "test"):
            scores = entry.metrics.get(split, {})
            row += [f"{scores[metric]:.3f}" if metric in scores else "" for metric in ("mAP50", "mAP50-95")]
        rows.append(row)
    header = ["weights", "data", "classes", "px", "MB", "val mAP50", "mAP50-95", "test mAP50", "mAP50-95"]
    return _table(header, rows)


def render(text: str) -> str:
    """Replace what stands between the markers of a text by fresh tables."""
    for name, table in (("families", families), ("models", models), ("weights", weights)):
        block = re.compile(rf"(<!-- {name}: generated -->\n).*?(<!-- end -->)", re.DOTALL)
        text, found = block.subn(lambda match, table=table: f"{match[1]}{table()}{match[2]}", text)
        if found != 1:
            raise ValueError(f"the text has {found} blocks marked {name!r}, not one.")
    return text


def _range(shares: Sequence[float]) -> str:
    low, high = f"{min(shares):.1%}", f"{max(shares):.1%}"
    return low if low == high else f"{low} to {high}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    write_text(README, render(README.read_text(encoding="utf-8")))
