"""What mkdocs puts into pages when it builds: tables from the registry and the manifest, never typed."""

from __future__ import annotations

import re
from pathlib import Path

import zoo
from zoo.weights import manifest


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace `<!-- generated: NAME -->` by what the function of that name returns."""
    return re.sub(r"<!-- generated: (\w+) -->", lambda found: TABLES[found[1]](), markdown)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _models() -> str:
    rows = []
    for name in zoo.list_models():
        info = zoo.model_info(name)
        rows.append(
            [
                f"`{name}`",
                f"{info.params / 1e6:.2f}",
                f"{info.params / info.base_params - 1:+.1%}",
                f"{info.gflops:.1f}",
                f"{info.gflops / info.base_gflops - 1:+.1%}",
                ", ".join(info.tags),
            ]
        )
    return _table(["model", "parameters, M", "over its base", "GFLOPs", "over its base", "weights"], rows)


def _weights() -> str:
    rows = []
    for name, entry in manifest.entries().items():
        scores = [
            "" if (value := entry.metrics.get("val", {}).get(metric)) is None else f"{value:.3f}"
            for metric in ("mAP50", "mAP50-95")
        ]
        rows.append([f"`{name}`", entry.dataset, str(entry.num_classes), str(entry.imgsz), *scores, entry.license])
    return _table(["weights", "data", "classes", "px", "val mAP50", "val mAP50-95", "licence"], rows)


def _compared() -> str:
    """Links to the pages of comparisons that lie beside this file, none if there are none."""
    pages = sorted(Path(__file__).parent.glob("compare-*.html"))
    titles = {page: re.search(r"<title>(.*?)</title>", page.read_text(encoding="utf-8")) for page in pages}
    links = [f"- [{title[1] if title else page.stem}]({page.name})" for page, title in titles.items()]
    return "\n".join(["Comparisons that were run here, as `zoo compare` wrote them:\n", *links]) if links else ""


TABLES = {"models": _models, "weights": _weights, "compared": _compared}
