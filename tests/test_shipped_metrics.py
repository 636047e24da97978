"""The weights in this repository score what their manifest entries claim, measured again on the data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

import zoo
from reproduce.datasets.prepare import prepare
from reproduce.evaluate import coco_metrics, predict
from reproduce.job import load_recipe
from zoo.weights import manifest

SHARED = Path(os.environ.get("ZOO_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
FOLDERS: Mapping[str, Path | None] = {
    "digits": None,
    "bccd": SHARED / "bccd",
    "deeppcb": SHARED / "deeppcb",
    "coco416": SHARED / "coco-416",
}
NAMES = sorted(manifest.entries())


@pytest.fixture(scope="session")
def prepared_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("datasets")


@pytest.mark.parametrize("name", NAMES)
def test_metrics_are_what_the_manifest_claims(name: str, prepared_in: Path) -> None:
    [recipe] = [each for each in FOLDERS if load_recipe(each).tag == name.partition(".")[2]]
    folder = FOLDERS[recipe]
    if folder is not None and not folder.is_dir():
        pytest.skip(f"no {folder}; ZOO_DATA_DIR names the folder that holds {folder.name}/")
    data = prepare(load_recipe(recipe).dataset, folder, prepared_in)
    entry = manifest.entries()[name]
    model = zoo.create(name, pretrained=True)
    for split, claimed in entry.metrics.items():
        annotations = data.parent / "annotations" / f"{split}.json"
        predictions, _ = predict(model, data, split, entry.imgsz, "cpu")
        found = coco_metrics(annotations, predictions)
        for metric, value in claimed.items():
            assert found[metric] == pytest.approx(value, abs=2e-3), f"{split} {metric}"
