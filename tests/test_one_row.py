"""README's example of a new variant is executed: one row, and everything works on its names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import zoo
from zoo import cli, info, registry
from zoo.config import GraftConfig
from zoo.report import cards

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def name() -> Iterator[str]:
    """The smallest model of README's row, registered for this module alone."""
    (row,) = re.findall(r"```python\n(@register\(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    before = set(registry.names())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_CONFIGS", dict(registry._CONFIGS))
        exec(row, {"register": registry.register, "GraftConfig": GraftConfig})
        new = [added for added in registry.names() if added not in before]
        assert [registry.get_config(each).scale for each in new] == [*"nsmlx"]
        yield new[0]
    assert set(registry.names()) == before
    info._counts.cache_clear()


def test_it_is_listed_without_being_built(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", name, "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["name"] == name and record["params"] is None
    assert cli.main(["list", name]) == 0
    assert name in capsys.readouterr().out


def test_info_counts_it_and_says_so(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", name]) == 0
    out = capsys.readouterr().out
    model = zoo.create(name)
    assert f"params   {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M" in out and "counted just now" in out
    assert zoo.model_info(name).gflops > zoo.model_info(name).base_gflops > 1


def test_it_builds_predicts_and_survives_saving(name: str, tmp_path: Path) -> None:
    model = zoo.create(name, num_classes=3)
    assert len(model.grafts) == len(registry.get_config(name).grafts)
    loaded = zoo.create(f"local-dir:{zoo.save(model, tmp_path)}")
    assert loaded.config == model.config
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(loaded(image)[0], model.half().float()(image)[0])
    results = zoo.YOLO(name).predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, verbose=False)
    assert len(results) == 1


def test_it_has_a_card(name: str) -> None:
    card = cards.render(name)
    config = registry.get_config(name)
    assert card.startswith("---") and f"# {name}" in card and f"+ gamma * {config.grafts[0].block}" in card
    assert f"| {name} |" in card
