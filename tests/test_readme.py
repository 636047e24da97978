"""What is generated says what the code and the recorded runs say."""

import re

import pytest

import zoo
from benchmarks import tables
from benchmarks.tables import README, render
from tests.report.test_charts import shown


def said(path, text):
    """What a generated file says, whatever version of Matplotlib drew."""
    return shown(text) if path.suffix == ".svg" else re.sub("<svg.*?</svg>", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("path", tables.OUTPUTS, ids=lambda path: path.name)
def test_generated_files_are_up_to_date(path):
    assert said(path, path.read_text(encoding="utf-8")) == said(path, tables.OUTPUTS[path]()), "run `make tables`"


@pytest.mark.fast
def test_the_readme_has_every_table():
    named = re.findall(r"<!-- (\w+): generated -->", README.read_text(encoding="utf-8"))
    assert named == ["families", "models", "weights", "comparison"]


@pytest.mark.fast
def test_a_stale_table_is_noticed():
    text = README.read_text(encoding="utf-8")
    stale = text.replace("| `yolov8n_dattn` |", "| `yolov8n_other` |")
    assert stale != text
    assert render(stale) == text


@pytest.mark.fast
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<!-- familys: generated --><!-- end -->", "'familys'; there are families"),
        ("<!-- families: generated -->", "without its end"),
        ("<!-- comparison digit: generated --><!-- end -->", "0 comparisons on 'digit'"),
        ("<!-- number digits yolov9n score: generated --><!-- end -->", "no 'score' of 'yolov9n'"),
    ],
)
def test_a_bad_marker_is_an_error(text, words):
    with pytest.raises(ValueError, match=words):
        render(text)


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    """Known rows in the place of the recorded ones: the graft gains 0.1 and 0.2; one run has pretrained weights."""
    table = tmp_path / "results" / "dots.csv"
    table.parent.mkdir()
    lines = ["model,width,seed,base_weights,val_mAP50-95", "yolov8n,,0,,0.4", "yolov8n,,1,,0.5", "yolov8n,0.29,0,,0.45"]
    lines += ["yolov8n_hat,,0,,0.5", "yolov8n_hat,,1,,0.7", "yolov8n_hat,,2,yolov8n.pt,0.9"]
    table.write_text("\n".join(lines))
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    for cached in (tables.recorded, tables.comparisons, tables.started):
        cached.cache_clear()
    yield
    for cached in (tables.recorded, tables.comparisons, tables.started):
        cached.cache_clear()


@pytest.mark.fast
def test_blocks_hold_the_recorded_runs(recorded):
    text = "By <!-- number dots yolov8n_hat base: generated -->?<!-- end -->, or\n"
    text += "<!-- differences widened: generated -->\n<!-- end -->\n"
    assert render(text).splitlines() == [
        "By <!-- number dots yolov8n_hat base: generated -->+0.150 ± 0.635, no difference shown<!-- end -->, or",
        "<!-- differences widened: generated -->",
        "| against the widened base | dots |",
        "| --- | --- |",
        "| `yolov8n_hat` | +0.050, one seed |",
        "<!-- end -->",
    ]
    assert tables.number("dots", "yolov8n,", "width", "0.29", "score") == "0.450, one seed"
    table = tables.comparison().splitlines()
    assert table[0] == "**dots**" and table[2].startswith("| model | seeds | mAP50-95 | against the plain base |")
    assert [line.split(" | ")[0] for line in table[4:]] == ["| `yolov8n_hat`", "| `yolov8n`", "| `yolov8n, width 0.29`"]
    assert tables.comparison("dots", "model", "seeds").splitlines()[2] == "| `yolov8n_hat` | 2 |"


@pytest.mark.fast
def test_adapters_are_placed_between_the_head_alone_and_the_whole_model(recorded):
    """The head alone has 0.4 and 0.5, the whole model 0.8 and 0.7; the graft closes half and four fifths."""
    lines = ["model,seed,base_weights,freeze_base,params,params_trained,val_mAP50-95"]
    for model, frozen, scores, trained in [
        ("yolov8n", "", (0.8, 0.7), 1000),
        ("yolov8n", "True", (0.4, 0.5), 100),
        ("yolov8n_hat", "True", (0.6, 0.66), 250),
        ("yolov8n_a2", "norm", (0.7,), 150),
    ]:
        lines += [f"{model},{seed},b.pt,{frozen},1000,{trained},{score}" for seed, score in enumerate(scores)]
    (tables.ROOT / "results" / "cells.csv").write_text("\n".join(lines))
    rows = {line.split(" | ")[0]: line for line in tables.adapters("cells").splitlines()[2:]}
    assert rows["| `yolov8n_hat`"].startswith("| `yolov8n_hat` | fixed | 0 | 25% | 2 | 0.630 ± 0.381 | +0.180 ± 0.254")
    assert rows["| `yolov8n_hat`"].endswith("| 65% ± 191% |")
    assert rows["| `yolov8n_a2`"].endswith("| 1 | 0.700, one seed |  | 75%, one seed |")
    assert rows["| `yolov8n`"].endswith("|  |")
    assert tables.pretrained("cells", "model", "score").splitlines()[2:] == ["| `yolov8n` | 0.750 ± 0.635 |"]
    assert tables.against("cells", "frozen", "yolov8n_hat", "yolov8n") == "+0.180 ± 0.254, no difference shown"
    assert tables.against("cells", "full", "yolov8n_hat", "yolov8n") == "not run"
    assert tables.adapters("dots") == tables.pretrained("nothing") == "No run is recorded.\n"


@pytest.mark.fast
def test_every_model_it_names_exists():
    named = set(re.findall(r"\byolo(?:v8|11)[nsmlx](?:_\w+)?(?!\.pt)\b", README.read_text(encoding="utf-8")))
    assert len(named) >= 40
    assert named - set(zoo.list_models()) == set()
