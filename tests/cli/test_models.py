"""Verbs that look at models: list, info, export's table, verify; and how fast they answer."""

import csv
import json
import os
import resource
import subprocess
import sys

import pytest

import zoo
from tests.cli.process import ROOT, run
from zoo import assets
from zoo.cli import main
from zoo.weights import manifest


@pytest.mark.fast
class TestLooking:
    def test_list_has_every_name_with_its_cost(self, capsys):
        assert main(["list"]) == 0
        rows = {line.split()[0]: line.split()[1:4] for line in capsys.readouterr().out.splitlines()[1:]}
        assert rows.keys() == set(zoo.list_models())
        info = zoo.model_info("yolov8s_hat")
        assert rows["yolov8s_hat"] == ["yolov8s", f"{info.params / 1e6:.2f}", f"{info.gflops:.1f}"]

    def test_list_as_json(self, capsys):
        assert main(["list", "yolo11?_halo", "--json"]) == 0
        records = json.loads(capsys.readouterr().out)
        assert [record["name"] for record in records] == zoo.list_models("yolo11?_halo")
        assert records[0]["params"] == zoo.model_info("yolo11n_halo").params

    def test_list_of_blocks_has_every_block_and_what_timm_warns_of(self, capsys):
        assert main(["list", "--blocks"]) == 0
        out = capsys.readouterr().out
        assert {line.split()[0] for line in out.splitlines() if "https://arxiv" in line} >= {"dattn", "cbam", "eca"}
        assert "cbam: timm: WARNING: Results with these attention layers have been mixed." in out
        assert main(["list", "c*", "--blocks", "--json"]) == 0
        found = {row["name"]: row["origin"] for row in json.loads(capsys.readouterr().out)}
        assert found == {"conv": "zoo", "cbam": "timm", "ceca": "timm", "coord": "timm"}
        assert main(["list", "nothing", "--blocks"]) == 1
        assert "no block matches 'nothing'" in capsys.readouterr().err

    def test_list_of_weights_has_a_row_of_its_own_for_each(self, capsys):
        assert main(["list", "--pretrained"]) == 0
        rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
        assert list(rows) == zoo.list_models(pretrained=True)
        for name, row in rows.items():
            entry = manifest.find(name)[1]
            for fact in (
                entry.dataset,
                f"{entry.metrics['val']['mAP50-95']:.3f} on val",
                entry.license,
                str(entry.imgsz),
            ):
                assert fact in row
        assert main(["list", "--pretrained", "yolov8n_dattn", "--json"]) == 0
        first = json.loads(capsys.readouterr().out)[0]
        entry = manifest.find(first["name"])[1]
        assert (first["sha256"], tuple(first["class_names"])) == (entry.sha256, entry.class_names)

    def test_info_of_weights_says_what_is_known_of_them(self, capsys):
        for name in zoo.list_models(pretrained=True):
            assert main(["info", name]) == 0
            out = capsys.readouterr().out
            entry = manifest.find(name)[1]
            facts = [name, *entry.class_names, entry.license, str(entry.bytes), entry.sha256, *entry.sources]
            facts += [str(entry.imgsz), f"mAP50 {entry.metrics['val']['mAP50']:.3f}", entry.recipe]
            assert all(fact in out for fact in facts)
            assert (entry.started_from or "random weights") in out

    def test_info_of_a_tag_that_is_not_there(self, capsys):
        assert main(["info", "yolov8n_dattn.nope"]) == 1
        assert "'nope'" in (err := capsys.readouterr().err)
        assert "bccd" in err

    def test_info_names_the_grafts_and_their_cost(self, capsys):
        assert main(["info", "yolov8n_hat_p345"]) == 0
        out = capsys.readouterr().out
        info = zoo.model_info("yolov8n_hat_p345")
        assert all(f"(layer {graft.position})" in out for graft in info.grafts)
        assert f"{info.params / info.base_params - 1:+.1%} over yolov8n" in out

    def test_export_without_a_format_says_what_was_measured(self, capsys):
        assert main(["export", "yolov8s_dattn"]) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
        with (assets.root() / "results" / "exports.csv").open(newline="") as file:
            measured = [row for row in csv.DictReader(file) if row["model"] == "yolov8n_dattn"]
        columns = ("height", "width", "ok", "box_px", "score", "rounding_px")
        assert measured
        assert rows == [[*row["format"].split(), *filter(None, (row[key] for key in columns))] for row in measured]

    @pytest.mark.parametrize("arguments", [["list"], ["info", "yolov8n_hat"], ["export", "yolov8n_hat"], ["--help"]])
    def test_looking_imports_nothing_heavy(self, arguments):
        code = f"""
import sys
from zoo.cli import main
from zoo.weights import manifest
try:
    main({arguments})
finally:
    print(*sys.modules, file=sys.stderr)
"""
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert not {"torch", "timm", "ultralytics", "numpy"} & set(done.stderr.split())

    @pytest.mark.parametrize("argument", ["list", "--help"])
    def test_looking_takes_less_than_a_third_of_a_second(self, argument, tmp_path):
        compiled = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}  # as an installed package is

        def seconds() -> float:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert run(argument, **compiled).returncode == 0
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        assert min(seconds() for _ in range(4)) < 0.3


def test_importing_the_zoo_takes_less_than_a_tenth_of_a_second(tmp_path):
    code = "import time; start = time.process_time(); import zoo; print(time.process_time() - start)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled

    def seconds() -> float:
        command = [sys.executable, "-c", code]
        return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)

    assert min(seconds() for _ in range(4)) < 0.1


def test_verify_passes_on_what_is_shipped(capsys):
    assert main(["verify"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert sorted(said) == sorted(f"{name}: ok" for name in zoo.list_models(pretrained=True))


def test_verify_of_a_tampered_file_fails(monkeypatch, tmp_path, capsys):
    names = zoo.list_models(pretrained=True)
    if not names:
        pytest.skip("no weights are shipped yet")
    file = assets.root() / "weights" / f"{names[0]}.safetensors"
    tampered = bytearray(file.read_bytes())
    tampered[-1] ^= 1
    for name in ("results", "cards", "weights_manifest.json"):
        (tmp_path / name).symlink_to(assets.root() / name)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / file.name).write_bytes(tampered)
    monkeypatch.setattr(assets, "root", lambda: tmp_path)
    assert main(["verify", names[0]]) == 1
    assert f"{names[0]}: " in (out := capsys.readouterr().out)
    assert "sha256" in out
