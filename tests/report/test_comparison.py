"""The page says what the rows say."""

from __future__ import annotations

import csv
import random
import re
from html.parser import HTMLParser

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo
from tests.report.test_scatter import shown
from zoo import assets
from zoo.errors import DataError, OptionError
from zoo.report import page, runs, statistics


def table(path, rows):
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows(model, scores, **more):
    return [{"model": model, "seed": seed, "val_mAP50-95": score, **more} for seed, score in enumerate(scores)]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("freedom", "t"), [(1, 12.7062), (2, 4.30265), (3, 3.18245), (4, 2.77645), (9, 2.26216), (30, 2.04227)]
)
def test_student_t_as_tabulated(freedom, t):
    assert statistics.t_quantile(freedom) == pytest.approx(t, abs=1e-4)


def compared(found, metric="val_mAP50-95"):
    """Label to line, of rows of one data set."""
    (comparison,) = statistics.compare([{"data": "d", **row} for row in found], metric)
    return {line.label: line for line in comparison.lines}


@pytest.mark.fast
def test_difference_is_paired_by_seed():
    """Seeds shift both models far more than the graft does: only pairs can see it. A seed without a pair is unused."""
    lines = compared(rows("yolov8n", [0.2, 0.5, 0.8]) + rows("yolov8n_dattn", [0.211, 0.509, 0.81, 0.1]))
    line = lines["yolov8n_dattn"]
    gain = line.differences["base"].gain
    assert gain.mean == pytest.approx(0.01) and gain.count == 3
    assert gain.half == pytest.approx(4.30265 * 0.001 / 3**0.5, rel=1e-3)
    assert line.score.count == 4 and line.score.half > 0.2
    assert line.cells["base"] == "+0.010 ± 0.002, better (3 seeds)"
    assert lines["yolov8n"].differences == {}


scores_by_seed = st.dictionaries(st.integers(0, 5), st.floats(0.1, 0.9), min_size=1, max_size=5)


@given(plain=scores_by_seed, grafted=scores_by_seed, cut=st.integers(0, 2), order=st.randoms(use_true_random=False))
def test_every_number_as_scipy_computes_it(plain, grafted, cut, order):
    """Any number of seeds, shared or not, in any order, cut runs among them."""
    from scipy import stats

    found = [
        {"model": model, "seed": seed, "val_mAP50-95": score, "status": "complete"}
        for model, scores in (("yolov8n", plain), ("yolov8n_hat", grafted))
        for seed, score in scores.items()
    ]
    found += [{"model": "yolov8n_hat", "seed": 10 + k, "val_mAP50-95": 0.999, "status": "cut"} for k in range(cut)]
    order.shuffle(found)
    line = compared(found)["yolov8n_hat"]
    assert line.cells["seeds"] == f"{len(grafted)}{f', {cut} cut' if cut else ''}"

    def check(estimate, values):
        assert estimate.count == len(values)
        assert estimate.mean == pytest.approx(numpy.mean(values), abs=1e-12)
        if len(values) == 1:
            assert estimate.half is None
            return
        spread = stats.sem(values)
        low, high = stats.t.interval(0.95, len(values) - 1, numpy.mean(values), spread) if spread else (0, 0)
        assert estimate.half == pytest.approx((high - low) / 2, rel=1e-6, abs=1e-12)

    check(line.score, list(grafted.values()))
    shared = sorted(plain.keys() & grafted.keys())
    if not shared:
        assert line.differences == {}
        return
    gains = [grafted[seed] - plain[seed] for seed in shared]
    difference = line.differences["base"]
    check(difference.gain, gains)
    if len(shared) < 2:
        assert difference.verdict == "one seed"
    elif numpy.std(gains) > 1e-6:
        p = stats.ttest_rel([grafted[seed] for seed in shared], [plain[seed] for seed in shared]).pvalue
        if abs(p - 0.05) > 1e-6:
            assert difference.verdict == (
                "no difference shown" if p > 0.05 else "better" if numpy.mean(gains) > 0 else "worse"
            )


@pytest.mark.fast
@pytest.mark.parametrize(
    ("grafted", "words"),
    [
        ([0.6], "+0.100, one seed"),
        ([0.6, 0.61], "+0.105 ± 0.064, better"),
        ([0.4, 0.41, 0.42], "-0.090 ± 0.025, worse"),
        ([0.4, 0.5, 0.6], "0.000 ± 0.248, no difference shown"),
        ([0.5, 0.5, 0.5], "0.000 ± 0.000, no difference shown"),
    ],
)
def test_the_word_follows_the_interval(grafted, words):
    line = compared(rows("yolov8n", [0.5] * 3) + rows("yolov8n_a2", grafted))["yolov8n_a2"]
    assert line.cells["base"] == words


@pytest.mark.fast
def test_one_seed_has_no_interval():
    line = compared(rows("yolov8n", [0.5]))["yolov8n"]
    assert line.score == statistics.Estimate(0.5, None, 1) and line.cells["score"] == "0.500, one seed"


@pytest.mark.fast
def test_no_control_no_difference():
    lines = compared(rows("yolov8n_hat", [0.5, 0.6]) + rows("yolo11n", [0.1, 0.2]) + rows("mine", [0.3, 0.4]))
    assert all(line.differences == {} and line.cells["base"] == "" for line in lines.values())


@pytest.mark.fast
def test_size_controls():
    found = rows("yolov8n", [0.1, 0.2]) + rows("yolov8s", [0.5, 0.6]) + rows("yolo11n", [0.3, 0.3], width="")
    found += rows("yolov8n", [0.3, 0.4], width="0.28") + rows("yolov8n", [0.31, 0.42], width="0.29")
    found += rows("yolov8n_hat", [0.2, 0.4]) + rows("yolo11n_halo", [0.3, 0.5]) + rows("yolov8s_hat", [0.9, 0.8])
    lines = compared(found)
    assert set(lines) >= {"yolov8n", "yolov8n, width 0.28", "yolov8n, width 0.29"}, "no width is taken for another"
    got = {name: {role: d.control for role, d in line.differences.items()} for name, line in lines.items()}
    wide = "yolov8n, width 0.29"
    assert got["yolov8n_hat"] == {"base": "yolov8n", "widened": wide, "larger": "yolov8s"}
    assert got[wide] == {"base": "yolov8n", "larger": "yolov8s"}
    assert got["yolo11n_halo"] == {"base": "yolo11n"}
    assert got["yolov8s_hat"] == {"base": "yolov8s"}
    assert got["yolov8n"] == got["yolov8s"] == got["yolo11n"] == {}
    assert lines["yolov8n_hat"].differences["base"].gain.mean == pytest.approx(0.15)
    assert lines["yolov8n_hat"].differences["widened"].gain.mean == pytest.approx(-0.065)


@pytest.mark.fast
def test_costs_and_gates_of_the_rows():
    norms = ['{"9": 0.2}', '{"9": 0.4}']
    found = [
        row | {"gamma_norms": norm, "hours": hours, "params": "3281001", "gflops_640": "8.466", "val_mAP50": 0.8}
        for row, norm, hours in zip(rows("yolov8n_dattn", [0.5, 0.6]), norms, ("0.5", "1.5"), strict=True)
    ]
    found.append({**found[0], "seed": 7, "status": "cut", "hours": "99", "gamma_norms": '{"9": 99}'})
    found += rows("yolov8n_dattn", [0.7], width="0.29") + rows("yolov8n_hat", [0.7])
    lines = compared(found)
    cells = lines["yolov8n_dattn"].cells
    assert (cells["seeds"], cells["gates"], cells["hours"]) == ("2, 1 cut", "9: 0.30", "1.00")
    assert (cells["params"], cells["gflops"], cells["map50"]) == ("3.28", "8.5", "0.800 ± 0.000")
    assert lines["yolov8n_hat"].costs["params"] == zoo.model_info("yolov8n_hat").params
    assert lines["yolov8n_dattn, width 0.29"].cells["params"] == "", "the registry knows stock widths alone"


@pytest.mark.fast
def test_latency_is_that_of_the_benchmark(tmp_path, monkeypatch):
    head = "model,width,base,batch,imgsz,ms,base_ms,ratio\n"
    timed = ["yolov8n_a2,,yolov8n,1,640,12,10,1.2", "yolov8n_a2,,yolov8n,8,640,96,80,1.2"]
    timed += ["yolov8n_hat,,yolov8n,1,640,40,30,1.333", "yolov8n_hat,,yolov8n,1,320,4,3,1.333"]
    timed += ["yolov8n_dattn,,yolov8n,1,640,22,11,2.0", "yolov8n,0.29,yolov8n,1,640,15,10,1.5"]
    (tmp_path / "results").mkdir()
    for name in ("results/models.csv", "weights_manifest.json"):
        (tmp_path / name).symlink_to(assets.root() / name)
    found = rows("yolov8n", [0.5]) + rows("yolov8n", [0.5], width="0.29") + rows("yolov8n_hat", [0.5]) + rows("x", [1])
    monkeypatch.setattr(assets, "root", lambda: tmp_path)
    assert not any("ms" in line.costs for line in compared(found).values())
    (tmp_path / "results" / "benchmark_models.csv").write_text(head + "\n".join(timed))
    lines = compared(found)
    assert {name: line.cells["ms"] for name, line in lines.items()} == {
        "yolov8n": "10.5",
        "yolov8n, width 0.29": "15.0 (1.50 x base)",
        "yolov8n_hat": "40.0 (1.33 x base)",
        "x": "",
    }


@pytest.mark.fast
def test_a_model_whose_runs_were_all_cut_is_there():
    found = rows("yolov8n", [0.5, 0.6]) + rows("yolov8n_hat", [0.9, 0.9], status="cut") + rows("yolov8n_a2", [""])
    lines = compared(found)
    assert list(lines) == ["yolov8n", "yolov8n_a2", "yolov8n_hat"]
    assert lines["yolov8n_hat"].cells["seeds"] == "0, 2 cut" and lines["yolov8n_hat"].score is None
    assert lines["yolov8n_a2"].cells["seeds"] == "0, 1 unscored"


@pytest.mark.fast
def test_other_settings_are_not_compared():
    both = rows("yolov8n", [0.2, 0.3], imgsz=320, epochs=5) + rows("yolov8n_dattn", [0.4, 0.5], imgsz=640)
    both += rows("yolov8n_dattn", [0.9, 0.9], imgsz=320, base_weights="yolov8n.pt", epochs=7)
    both += rows("yolov8n_hat", [0.9, 0.9], imgsz=320, epochs=4)[:1]
    found = statistics.compare([{"data": "d", **row} for row in both], "val_mAP50-95")
    titles = ["d, 320 px, 4 to 5 epochs", "d, 320 px, from yolov8n.pt, 7 epochs", "d, 640 px"]
    assert [comparison.title for comparison in found] == titles
    assert [line.label for line in found[1].lines] == ["yolov8n_dattn"]
    assert all(line.differences == {} for comparison in found[1:] for line in comparison.lines)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"seed": 0, "val_mAP50-95": 0.7}, "two runs of yolov8n under seed 0"),
        ({"seed": 1, "val_mAP50-95": "high"}, "'high', not a number"),
        ({"seed": 1, "val_mAP50-95": "nan"}, "'nan', not a number"),
    ],
)
def test_rows_that_cannot_be_averaged(more, words):
    with pytest.raises(DataError, match=words):
        compared([*rows("yolov8n", [0.5]), {"model": "yolov8n", **more}])
    assert compared(rows("yolov8n", [0.5]) * 2)["yolov8n"].score.count == 1, "the same row twice is one run"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.addresses, self.cells, self.tag = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tag = tag
        self.addresses += [value for key, value in attributes if key in {"src", "href", "data", "action"}]
        if tag == "td":
            self.cells.append("")

    def handle_data(self, text):
        if self.tag == "td":
            self.cells[-1] += text


def test_page_is_whole_and_alone(tmp_path):
    random.seed(0)
    models = {"yolov8n": 0.5, "yolov8n_dattn": 0.52, "yolov8n_a2": 0.51, "my <own> & model": 0.4}
    found = [
        row for model, score in models.items() for row in rows(model, [score + random.gauss(0, 0.005) for _ in "123"])
    ]
    found.append({"model": "yolov8n_hat", "seed": 0, "status": "failed", "error": "exit code 1"})
    (tmp_path / "speed.csv").write_text("model,ms\nyolov8n,3\n")
    file = table(tmp_path / "shapes.csv", found)
    text = page.write([file, tmp_path / "speed.csv"], tmp_path / "out" / "report.html").read_text()
    seen = Page(text)
    assert not seen.addresses and "@import" not in text and "url(h" not in text, "nothing is fetched"
    assert "13 runs. 1 of them" in text and "<h2>shapes</h2>" in text and "speed" not in text
    assert "my <own> & model" in seen.cells and "0, 1 failed" in seen.cells
    (drawing,) = re.findall(r"<svg.*?</svg>", text, re.S)
    assert [panel["cost"] for panel in shown(drawing)] == ["GFLOPs at 640 px", "ms an image"]
    assert sorted(point["label"] for point in shown(drawing)[0]["points"]) == ["yolov8n", "yolov8n_a2", "yolov8n_dattn"]
    random.shuffle(found)
    assert page.render(runs.read_rows([table(file, found)])) == text, "the order of the rows does not matter"


@pytest.mark.fast
def test_runs_of_ultralytics_are_read(tmp_path):
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    (run / "args.yaml").write_text("model: yolov8n_dattn\ndata: /somewhere/shapes.yaml\nseed: 4\nimgsz: 64\n")
    (run / "results.csv").write_text(
        "epoch,time,metrics/mAP50(B),metrics/mAP50-95(B)\n1,1.0,0.4,0.2\n2,2.0,0.5,0.3\n3,3.0,0.6,0.25\n"
    )
    assert runs.read_rows([tmp_path / "runs"]) == [
        {
            "data": "shapes",
            "model": "yolov8n_dattn",
            "seed": 4,
            "epochs": 3,
            "imgsz": 64,
            "val_mAP50-95": 0.3,
            "val_mAP50": 0.5,
        }
    ]
    (run / "results.csv").write_text("epoch\n")
    with pytest.raises(DataError, match="not the folder of a training that ended an epoch"):
        runs.read_rows([tmp_path / "runs"])


@pytest.mark.fast
def test_nothing_to_report(tmp_path):
    with pytest.raises(DataError, match="no file or folder"):
        page.write([tmp_path / "absent.csv"], tmp_path / "page.html")
    with pytest.raises(DataError, match="neither rows"):
        page.write([tmp_path], tmp_path / "page.html")
    (tmp_path / "speed.csv").write_text("model,ms\nyolov8n,3\n")
    with pytest.raises(DataError, match=r"neither rows .* are in .*speed.csv"):
        page.write([tmp_path / "speed.csv"], tmp_path / "page.html")
    failed = table(tmp_path / "failed.csv", [{"model": "yolov8n", "seed": 0, "status": "failed"}])
    with pytest.raises(DataError, match="none of 1 runs is complete"):
        page.write([failed], tmp_path / "page.html")
    with pytest.raises(OptionError, match="no run has 'AP'; there are val_mAP50-95"):
        page.write([table(tmp_path / "one.csv", rows("yolov8n", [0.1]))], tmp_path / "page.html", "AP")
    assert not (tmp_path / "page.html").exists()
