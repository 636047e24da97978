"""What the weights tagged `coco` find, beside the base that they started from, on COCO images outside their training.

    python -m benchmarks.coco --base yolov8n.pt --base yolo11n.pt --on coco416=data/coco-416@416 --on coco=data/coco@640

`--on RECIPE=FOLDER@PIXELS` takes the validation split of a recipe's data at a size. Writes `results/coco_weights.csv`:
a row a model, data set and size, with both COCO's metrics and Ultralytics' own, and the difference to the base.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import zoo
from reproduce.datasets.prepare import prepare
from reproduce.evaluate import coco_metrics, predict
from reproduce.job import load_recipe
from zoo import assets, records
from zoo.weights import manifest


def main() -> None:
    """Evaluate and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, action="append", required=True, help="official weights, NAME.pt")
    parser.add_argument("--on", action="append", required=True, metavar="RECIPE=FOLDER@PIXELS")
    parser.add_argument("--output", type=Path, default=assets.root() / "results" / "coco_weights.csv")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        for word in args.on:
            recipe, _, place = word.partition("=")
            folder, _, pixels = place.rpartition("@")
            data = prepare(load_recipe(recipe).dataset, Path(folder), Path(cache), verify=False)
            for base in args.base:
                rows += compared(base, recipe, data, int(pixels))
    records.write(args.output, rows)


def compared(base: Path, recipe: str, data: Path, imgsz: int) -> list[dict[str, object]]:
    """A row for the base, and one for each of its grafts that has weights of the tag."""
    grafted = [
        name for name in manifest.entries() if name.startswith(base.stem) and name.endswith(f".{manifest.FIRST_TAG}")
    ]
    truth = data.parent / "annotations" / "val.json"
    images = len(json.loads(truth.read_text(encoding="utf-8"))["images"])
    rows: list[dict[str, object]] = []
    for name in (base.stem, *grafted):
        model = zoo.create(name, base_weights=base) if name == base.stem else zoo.create(name, pretrained=True)
        predictions, stock = predict(model, data, "val", imgsz)
        scores = coco_metrics(truth, predictions)
        found = {"mAP50-95": scores["mAP50-95"], "mAP50": scores["mAP50"]}
        found |= {f"ultralytics_{metric}": value for metric, value in stock.items()}
        row = {"model": name, "data": recipe, "split": "val", "images": images, "imgsz": imgsz}
        row |= {metric: round(value, 5) for metric, value in found.items()}
        row["minus_base"] = round(found["mAP50-95"] - float((rows[0] if rows else row)["mAP50-95"]), 5)
        rows.append(row | records.environment(packages=("torch", "ultralytics", "faster-coco-eval")))
        print(name, recipe, imgsz, found, flush=True)
    return rows


if __name__ == "__main__":
    main()
