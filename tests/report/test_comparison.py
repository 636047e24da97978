"""A comparison says what its runs say, and what is wrong with them."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.report.build import PRINT, runs, write
from zoo.errors import DataError, OptionError
from zoo.report.comparison import compare
from zoo.report.runs import folder_name, read
from zoo.report.statistics import Estimate

pytestmark = pytest.mark.fast


def table(path, rows):
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def lines(found, **more):
    """Label to line, of runs that make one comparison."""
    (comparison,) = compare(found, **more)
    return {line.label: line for line in comparison.lines}


def test_difference_is_paired_by_seed():
    """Seeds shift both models far more than the graft does: only pairs can see it. A seed without a pair is unused."""
    found = lines(runs("yolov8n", [0.2, 0.5, 0.8]) + runs("yolov8n_dattn", [0.211, 0.509, 0.81, 0.1]))
    line = found["yolov8n_dattn"]
    gain = line.differences["base"].gain
    assert gain.mean == pytest.approx(0.01) and gain.count == 3
    assert gain.half == pytest.approx(4.30265 * 0.001 / 3**0.5, rel=1e-3)
    assert line.score.count == 4 and line.score.half > 0.2
    assert line.cells["base"] == "+0.010 \N{PLUS-MINUS SIGN} 0.002, better (3 seeds)"
    assert found["yolov8n"].differences == {} and found["yolov8n"].control and not line.control


by_seed = st.dictionaries(st.integers(0, 5), st.floats(0.1, 0.9), min_size=1, max_size=5)


@given(plain=by_seed, grafted=by_seed, cut=st.integers(0, 2), order=st.randoms(use_true_random=False))
def test_means_and_pairs_in_any_order_with_cut_runs_among_them(plain, grafted, cut, order):
    found = runs("yolov8n", plain.values(), seeds=plain) + runs("yolov8n_hat", grafted.values(), seeds=grafted)
    found += runs("yolov8n_hat", [0.999] * cut, seeds=range(10, 10 + cut), status="cut")
    order.shuffle(found)
    line = lines(found)["yolov8n_hat"]
    assert line.cells["seeds"] == f"{len(grafted)}{f', {cut} cut' if cut else ''}"
    assert line.score == Estimate.of([grafted[seed] for seed in sorted(grafted)])
    shared = sorted(plain.keys() & grafted.keys())
    gains = [grafted[seed] - plain[seed] for seed in shared]
    assert [each.gain for each in line.differences.values()] == ([Estimate.of(gains)] if gains else [])


def test_an_explicit_control_is_everyones_control():
    found = runs("yolov8n", [0.5, 0.51]) + runs("yolov8s", [0.6, 0.61]) + runs("mine", [0.7, 0.72])
    official = {"source": "yolov8s.pt", "sha256": "1" * 64, "kind": "base"}
    found += runs("yolov8n_dattn", [0.5, 0.53], parent=official)
    got = lines(found, control="yolov8s")
    assert {label: line.verdict and line.verdict.control for label, line in got.items()} == {
        "yolov8s": None,
        **dict.fromkeys(("yolov8n", "mine", "yolov8n_dattn"), "yolov8s"),
    }
    assert {line.verdict.models for line in got.values() if line.verdict} == {3}
    with pytest.raises(OptionError, match="no run is of the control 'yolov9'; there are mine; yolov8n; "):
        compare(found, control="yolov9")


def test_without_a_control_there_is_no_difference():
    got = lines(runs("yolov8n_hat", [0.5, 0.6]) + runs("yolo11n", [0.1, 0.2]) + runs("mine", [0.3, 0.4]))
    assert all(line.differences == {} and line.cells["base"] == "" for line in got.values())


def test_size_controls():
    found = runs("yolov8n", [0.1, 0.2]) + runs("yolov8s", [0.5, 0.6]) + runs("yolo11n", [0.3, 0.3])
    found += runs("yolov8n", [0.3, 0.4], width=0.28) + runs("yolov8n", [0.31, 0.42], width=0.29)
    found += runs("yolov8n_hat", [0.2, 0.4]) + runs("yolo11n_halo", [0.3, 0.5]) + runs("yolov8s_hat", [0.9, 0.8])
    got = {name: {role: d.control for role, d in line.differences.items()} for name, line in lines(found).items()}
    wide = "yolov8n, width 0.29"
    assert got["yolov8n_hat"] == {"base": "yolov8n", "widened": wide, "larger": "yolov8s"}
    assert got[wide] == {"base": "yolov8n", "larger": "yolov8s"}
    assert got["yolo11n_halo"] == {"base": "yolo11n"}
    assert got["yolov8s_hat"] == {"base": "yolov8s"}
    assert got["yolov8n"] == got["yolo11n"] == got["yolov8s"] == {}
    differences = lines(found)["yolov8n_hat"].differences
    assert differences["base"].gain.mean == pytest.approx(0.15)
    assert differences["widened"].gain.mean == pytest.approx(-0.065)
    assert differences["base"].models == 3 and lines(found)["yolo11n_halo"].differences["base"].models == 1


def test_costs_are_those_of_the_runs_and_latency_that_which_is_given():
    """Never the benchmark machine's, and never those of 80 classes."""
    found = runs("yolov8n", [0.5]) + runs("yolov8n_dattn", [0.5, 0.6], parameters=3_281_001, gflops=8.466)
    found[-1] = replace(found[-1], gates={"9": 0.4}, seconds=7200.0)
    found[-2] = replace(found[-2], gates={"9": 0.2})
    cut = {"status": "cut", "gates": {"9": 99.0}, "seconds": 9e9, "parameters": None, "gflops": None}
    found += runs("yolov8n_dattn", [0.7], seeds=[7], **cut)
    found += runs("yolov8n_hat", [0.7], parameters=None, gflops=None)
    got = lines(found, latency={"yolov8n_dattn": (22.0, 2.0), "yolov8n": (11.0, None)})
    cells = got["yolov8n_dattn"].cells
    assert (cells["seeds"], cells["gates"], cells["hours"]) == ("2, 1 cut", "9: 0.3", "1.50")
    assert (cells["params"], cells["gflops"], cells["ms"]) == ("3.28", "8.5", "22.0 (2.00 x base)")
    assert got["yolov8n"].cells["ms"] == "11.0" and got["yolov8n_hat"].costs == {}
    assert lines(found)["yolov8n_dattn"].cells["ms"] == ""
    assert compare(found)[0].heads["gflops"] == "GFLOPs at 320 px"


def test_the_test_split_decides_where_every_run_has_it():
    both = {"val": {"mAP50-95": 0.2, "mAP50": 0.3}, "test": {"mAP50-95": 0.4, "mAP50": 0.5}}
    tested = runs("yolov8n", [0, 0], metrics=both)
    assert compare(tested)[0].split == "test" and lines(tested)["yolov8n"].score.mean == 0.4
    assert lines(tested, metric="val_mAP50")["yolov8n"].score.mean == 0.3
    assert lines(tested, metric="mAP50")["yolov8n"].score.mean == 0.5
    assert compare(tested + runs("yolov8n_a2", [0.1]))[0].split == "val"
    with pytest.raises(OptionError, match=r"no run has 'AP'; there are test_mAP50, test_mAP50-95, val_mAP50, val_mAP"):
        compare(tested, "AP")


def test_a_model_whose_runs_were_all_lost_is_there_and_the_page_says_why():
    found = runs("yolov8n", [0.5, 0.6]) + runs("yolov8n_hat", [0.9, 0.9], status="failed", error="out of memory")
    found += runs("yolov8n_a2", [None]) + runs("yolov8n_dattn", [math.nan, 0.5])
    (comparison,) = compare(found)
    got = {line.label: line for line in comparison.lines}
    assert list(got) == ["yolov8n", "yolov8n_dattn", "yolov8n_a2", "yolov8n_hat"]
    assert got["yolov8n_hat"].cells["seeds"] == "0, 2 failed" and got["yolov8n_hat"].score is None
    assert got["yolov8n_a2"].cells["seeds"] == "0, 1 unscored"
    assert got["yolov8n_dattn"].cells["seeds"] == "1, 1 diverged" and got["yolov8n_dattn"].score.mean == 0.5
    notes = " ".join(comparison.notes)
    assert "yolov8n_hat, seed 0, is in no mean: failed: out of memory (runs/yolov8n_hat-s0)" in notes
    assert "yolov8n_dattn, seed 0, is in no mean: its mAP50-95 is not a number, which flatters the model" in notes


def test_a_control_that_failed_and_seeds_that_are_not_shared_are_said():
    failed = runs("yolov8n", [None], status="failed") + runs("yolov8n_dattn", [0.5])
    for chosen in (None, "yolov8n"):
        (comparison,) = compare(failed, control=chosen)
        assert "No run of the control yolov8n enters the means" in comparison.notes[0] and not comparison.verdicts
    (comparison,) = compare(runs("yolov8n", [0.5, 0.5]) + runs("yolov8n_dattn", [0.5], seeds=[7]))
    assert "yolov8n_dattn (seeds 7) and yolov8n (seeds 0, 1) share no seed" in comparison.notes[0]


def test_verdicts_are_sentences():
    (comparison,) = compare(
        runs("yolov8n", [0.5, 0.51, 0.5]) + runs("yolov8n_a2", [0.6, 0.62, 0.61]), control="yolov8n"
    )
    assert comparison.verdicts == ["yolov8n_a2 is better than yolov8n: +0.107 \N{PLUS-MINUS SIGN} 0.014 over 3 seeds."]


OFFICIAL = {"source": "yolov8n.pt", "sha256": "1" * 64, "kind": "base"}


def test_other_settings_are_not_compared():
    both = runs("yolov8n", [0.2, 0.3]) + runs("yolov8n_dattn", [0.4, 0.5], imgsz=640)
    both += runs("yolov8n_dattn", [0.9, 0.9], parent=OFFICIAL)
    both += runs("yolov8n_dattn", [0.9, 0.9], freeze_base=True)
    both += runs("yolov8n_dattn", [0.9, 0.9], settings={"lr0": 0.1}) + runs("yolov8n", [0.9], settings={"lr0": 0.2})
    found = compare(both)
    assert [comparison.title for comparison in found] == [
        "data, 320 px, 5 epochs",
        "data, 320 px, 5 epochs, lr0=0.1",
        "data, 320 px, 5 epochs, lr0=0.2",
        "data, 320 px, base frozen, 5 epochs",
        "data, 320 px, from yolov8n.pt, 5 epochs",
        "data, 640 px, 5 epochs",
    ]
    assert all(line.differences == {} for comparison in found for line in comparison.lines)


def test_models_of_one_name_from_other_weights_are_two():
    other = OFFICIAL | {"sha256": "2" * 64, "source": "other.pt"}
    got = lines(runs("yolov8n", [0.5], parent=OFFICIAL) + runs("yolov8n", [0.6], parent=other), control=None)
    assert set(got) == {"yolov8n, from yolov8n.pt", "yolov8n, from other.pt"}


def test_each_has_the_base_that_started_from_the_same_weights():
    found = []
    for digit, scores in (("1", [0.5, 0.6]), ("2", [0.1, 0.2])):
        found += runs("yolov8n", scores, parent=OFFICIAL | {"sha256": digit * 64})
    for order in (found, found[::-1]):
        got = lines(order + runs("yolov8n_dattn", [0.52, 0.62], parent=OFFICIAL))
        assert set(got) == {f"yolov8n, from yolov8n.pt ({digit * 8})" for digit in "12"} | {"yolov8n_dattn"}
        assert got["yolov8n_dattn"].differences["base"].control == "yolov8n, from yolov8n.pt (11111111)"
    other = OFFICIAL | {"sha256": "3" * 64}
    assert lines(found + runs("yolov8n_dattn", [0.5], parent=other))["yolov8n_dattn"].differences == {}
    alone = lines(found[:2] + runs("yolov8n_dattn", [0.5], parent=other))
    assert alone["yolov8n_dattn"].differences["base"].control == "yolov8n"


def test_a_control_that_has_several_starts_is_named_with_one():
    found = runs("yolov8n", [0.5, 0.6]) + runs("yolov8n", [0.7, 0.8], parent=OFFICIAL)
    with pytest.raises(OptionError, match=r"there are yolov8n, from scratch; yolov8n, from yolov8n\.pt"):
        compare(found, control="yolov8n")
    got = lines(found, control="yolov8n, from scratch")
    assert got["yolov8n, from yolov8n.pt"].differences["control"].gain.mean == pytest.approx(0.2)


def test_runs_without_the_control_are_shown_without_differences():
    both = runs("yolov8n", [0.5]) + runs("yolov8n_dattn", [0.6]) + runs("yolov8n_dattn", [0.7], imgsz=640)
    with_it, without = compare(both, control="yolov8n")
    assert with_it.verdicts and with_it.control == "yolov8n" and not with_it.notes
    assert not without.verdicts and without.control is None
    assert without.notes == ("No run here is of the control yolov8n, so nothing is compared to it.",)


@pytest.mark.parametrize(
    ("base", "larger"), [("yolo11n-seg", "yolo11s-seg"), ("yolov8n-p2", "yolov8s-p2"), ("yolov8n-obb", "yolov8s-obb")]
)
def test_the_next_scale_of_tasks_and_layouts(base, larger):
    found = runs(base, [0.5]) + runs(larger, [0.7]) + runs(f"{base}+cbam@p3", [0.6])
    assert lines(found)[f"{base}+cbam@p3"].differences["larger"].control == larger
    assert (
        "larger"
        not in lines(runs("yolov8x-seg", [0.5]) + runs("yolov8x-seg+cbam@p3", [0.6]))["yolov8x-seg+cbam@p3"].differences
    )


def test_data_sets_of_one_name_never_merge(tmp_path):
    """Almost every export is called data.yaml."""
    data = runs("yolov8n", [0.5])[0].data
    changed = data | {"fingerprint": "e" * 64}
    found = compare(runs("yolov8n", [0.5]) + runs("yolov8n", [0.9], data=changed))
    assert [comparison.title for comparison in found] == [
        f"data, 320 px, 5 epochs, {'e' * 12}",
        f"data, 320 px, 5 epochs, {PRINT[:12]}",
    ]
    assert all("Several data sets are called data: eeeeeeeeeeee, ffffffffffff" in each.notes[0] for each in found)
    moved = data | {"yaml": "/elsewhere/data.yaml"}
    assert len(compare(runs("yolov8n", [0.5]) + runs("yolov8n_a2", [0.9], data=moved))) == 1
    for name in ("a", "b"):  # folders of stock Ultralytics have no fingerprint
        (tmp_path / name).mkdir()
        (tmp_path / name / "args.yaml").write_text(f"{{model: yolov8n, data: /{name}/my.yaml, seed: 0, imgsz: 64}}")
        (tmp_path / name / "results.csv").write_text("epoch,metrics/mAP50(B),metrics/mAP50-95(B)\n1,0.4,0.2\n")
    assert [each.title for each in compare(read([tmp_path]))] == [
        "my, 64 px, 1 epochs, /a/my.yaml",
        "my, 64 px, 1 epochs, /b/my.yaml",
    ]


def test_one_run_twice_is_an_error_that_names_both_folders(tmp_path):
    (one,) = runs("yolov8n", [0.5])
    write(one, tmp_path / "a")
    write(one, tmp_path / "b")
    with pytest.raises(DataError, match=rf"{tmp_path}/a and {tmp_path}/b are one run twice: yolov8n, seed 0"):
        compare(read([tmp_path]))
    assert len(compare(read([tmp_path / "a", tmp_path / "a"]))[0].runs) == 1, "one folder given twice is one run"
    write(replace(one, status="failed"), tmp_path / "c")
    assert len(compare(read([tmp_path / "a", tmp_path / "c"]))[0].runs) == 2, "what failed may be tried again elsewhere"


def test_rows_of_csv_files(tmp_path):
    """As README's tables read them: what the registry knows of a model is used, what it counts at 80 classes is not."""
    rows = [{"model": "yolov8n", "seed": seed, "val_mAP50-95": score} for seed, score in enumerate([0.5, 0.6])]
    rows.append({"model": "yolov8n_hat", "seed": 0, "val_mAP50-95": 0.7, "gamma_norms": '{"21": 0.5}', "hours": 2})
    rows.append({"model": "yolov8n_hat", "seed": 1, "status": "failed", "error": "exit code 1"})
    (tmp_path / "speed.csv").write_text("model,ms\nyolov8n,3\n")
    (comparison,) = compare(read([table(tmp_path / "shapes.csv", rows), tmp_path / "speed.csv"]))
    got = {line.label: line for line in comparison.lines}
    assert comparison.title == "shapes" and got["yolov8n_hat"].cells["seeds"] == "1, 1 failed"
    assert got["yolov8n_hat"].cells["gates"] == "21: 0.5" and got["yolov8n_hat"].cells["hours"] == "2.00"
    assert got["yolov8n_hat"].cells["base"] == "+0.200, one seed" and got["yolov8n_hat"].cells["params"] == ""
    bad = table(tmp_path / "bad.csv", [{"model": "yolov8n", "seed": 1, "val_mAP50-95": "high"}])
    with pytest.raises(DataError, match=r"bad\.csv: val_mAP50-95 of yolov8n, seed 1, is 'high', not a number"):
        read([bad])
    lost = table(tmp_path / "lost.csv", [{"model": "yolov8n", "seed": 1, "val_mAP50-95": "nan"}])
    (line,) = compare(read([lost]))[0].lines
    assert line.cells["seeds"] == "0, 1 diverged"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,seed\nyolov8n,\n", "line 2: seed must not be empty"),
        ("model,seed\nyolov8n,0\n,1\n", "line 3: model must not be empty"),
        ("model,seed\nyolov8n,0,5\n", "line 2: it has more cells than the first line has columns"),
        ("model,seed\nyolov8n,0.5\n", r"seed of yolov8n, seed 0\.5, is '0\.5', not a whole number"),
        ("model,seed\nyolov8n,nan\n", "is 'nan', not a whole number"),
        ("model,seed,versions\nyolov8n,0,torch 2\n", "versions of yolov8n, seed 0, is 'torch 2', not a JSON object"),
        ("model,seed,gamma_norms\nyolov8n,0,0.5\n", r"gamma_norms of yolov8n, seed 0, is '0\.5', not a JSON object"),
        (b"model,seed\n\xff\xfe,0\n", "cannot be read"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(text, message, tmp_path):
    (tmp_path / "bad.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=rf"bad\.csv.*{message}"):
        read([tmp_path / "bad.csv"])


def test_a_table_that_a_spreadsheet_saved(tmp_path):
    (tmp_path / "saved.csv").write_text("model,seed,val_mAP50-95\nyolov8n,0,0.5\n", encoding="utf-8-sig")
    assert [run.model for run in read([tmp_path / "saved.csv"])] == ["yolov8n"]


def test_a_row_of_a_sweep_counts_where_its_job_left_no_run(tmp_path):
    named, spelled = "yolov8n+conv(depthwise=false,params=900)@p3", "yolov8n+conv(params=900,depthwise=false)@p3"
    rows = [{"data": data, "model": spelled, "seed": 0, "val_mAP50-95": 0.4} for data in ("mine", "recipe")]
    rows.append({"data": "mine", "model": spelled, "seed": 1, "status": "failed", "error": "exit code 1"})
    table(tmp_path / "results.csv", rows)
    write(replace(*runs(named, [0.4])), tmp_path / "mine" / folder_name(spelled, 0) / "run")
    (tmp_path / "recipe" / folder_name(spelled, 0)).mkdir(parents=True)
    found = read([tmp_path])
    assert [(run.record, run.data["name"], run.seed) for run in found] == [
        (True, "data", 0),
        (False, "recipe", 0),
        (False, "mine", 1),
    ]
    assert {run.model for run in found} == {named}


def test_nothing_to_compare(tmp_path):
    with pytest.raises(DataError, match="no file or folder"):
        read([tmp_path / "absent.csv"])
    with pytest.raises(DataError, match="neither rows"):
        read([tmp_path])
    with pytest.raises(DataError, match="none of 2 runs has ended"):
        compare(runs("yolov8n", [0.5, 0.5], status="cut"))
