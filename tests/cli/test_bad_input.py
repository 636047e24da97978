"""What the command line says of what cannot be: one line, and an exit code."""

import socket
import subprocess
import sys

import pytest
import torch

import zoo
from tests.cli.process import ROOT, run
from zoo.cli import main


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("list yolov9*", ["yolov9*", "zoo list"]),
        ("info yolov8n_datn", ["yolov8n_datn", "Did you mean yolov8n_dattn"]),
        ("predict yolov8n_datn images", ["yolov8n_datn", "Did you mean yolov8n_dattn"]),
        ("predict yolov8n_dattn.nope images", ["yolov8n_dattn"]),
        ("predict yolov8x_hat_p345 images", ["yolov8x_hat_p345", "no trained weights"]),
        ("predict local-dir:empty images", ["config.json"]),
        ("predict local-dir:truncated images", ["truncated", "safetensors"]),
        ("predict local-dir:pickled images", ["pickled", "safetensors"]),
        ("predict local-dir:lacking images", ["lacking"]),
        ("predict empty images", ["folder", "empty", "no model"]),
        ("predict none.pt images", ["none.pt"]),
        ("predict yolov8n absent.png", ["absent.png", "There is no file", "a folder"]),
        ("predict yolov8n empty", ["no image", "'empty'"]),
        ("predict MODEL images --device cuda:99", ["cuda:99", "not available"]),
        ("predict MODEL images --out file", ["file"]),
        ("predict fw.safetensors images", ["fw.safetensors", "which model", "config.json"]),
        ("predict gone.safetensors images", ["gone.safetensors", "no file"]),
        ("predict gone.onnx images", ["gone.onnx", "no file"]),
        ("predict file.onnx images", ["file.onnx", "no export"]),
        ("predict MODEL images --json images/a.png", ["images/a.png", ".json"]),
        ("predict MODEL images --csv d.txt", ["d.txt", ".csv"]),
        ("predict MODEL images --no-pictures", ["nothing would be written"]),
        ("predict MODEL images --classes wasp", ["wasp", "1 bee"]),
        ("predict MODEL images --classes 3", ["3", "2 cow"]),
        ("predict MODEL images --classes ,", ["empty"]),
        ("predict MODEL images --half --device cpu", ["--half", "GPU"]),
        ("track MODEL images --tracker none.yaml", ["none.yaml"]),
        ("track MODEL images --tracker nameless.yaml", ["nameless.yaml", "tracker_type is None"]),
        ("predict broken_openvino_model images", ["broken_openvino_model", "no export"]),
        ("predict MODEL images conf=0.5", ["'conf=0.5'", "--conf 0.5"]),
        ("predict MODEL images --device mps", ["'mps'"]),
        ("predict MODEL images --out file/x", ["file"]),
        ("predict MODEL http://[bad", ["http://[bad"]),
        ("train yolov8n_dattn device=99", ["device 99 is not available"]),
        ("val MODEL device=99", ["device 99 is not available"]),
        ("train yolov8n_dattn data=x.yaml epoch=3", ["epoch", "Did you mean epochs"]),
        ("train yolov8n_dattn model=yolov8s", ["model"]),
        ("train yolov8n_dattn epochs", ["'epochs'", "key=value"]),
        ("train yolov8n_dattn epochs=three", ["epochs", "int"]),
        ("train yolov8n_dattn epochs=3", ["data=FILE.yaml"]),
        ("train yolov8n_dattn data=absent.yaml", ["absent.yaml"]),
        ("train yolov8n_dattn data=empty.yaml", ["empty.yaml", "train"]),
        ("val MODEL data=nameless.yaml", ["nameless.yaml", "names"]),
        ("val MODEL data=imageless.yaml", ["imageless.yaml", "nowhere"]),
        ("train file.onnx data=x.yaml epochs=1 resume=True", ["file.onnx", "export"]),
        ("export MODEL format=onnx imgsz=abc", ["imgsz=abc", "imgsz=640"]),
        ("train yolov8n_dattn data=images", ["data=images", "No YAML"]),
        ("export MODEL format=onx", ["onx", "onnx"]),
        ("export MODEL", ["format=", "onnx"]),
        ("export yolov8n_datn", ["yolov8n_datn", "Did you mean yolov8n_dattn"]),
        ("verify yolov8n_datn", ["yolov8n_datn"]),
        ("card yolov8n_datn", ["yolov8n_datn", "Did you mean yolov8n_dattn"]),
        ("push yolov8x_hat_p345 org/repo", ["yolov8x_hat_p345", "no trained weights"]),
        ("push local-dir:lacking org/repo", ["lacking"]),
        ("push MODEL foo", ["'foo'", "ORG/REPO"]),
        ("push yolov8n_dattn.bccd foo", ["'foo'", "ORG/REPO"]),
        ("push MODEL a/b/c", ["'a/b/c'"]),
    ],
)
def test_bad_input_gets_one_clear_line(arguments, words, workplace, model, capsys):
    assert main(arguments.replace("MODEL", model).split()) == 1
    err = capsys.readouterr().err
    line = err.strip().splitlines()[-1]
    assert line.startswith("zoo: error: ")
    assert all(word in line for word in words), line
    assert "Traceback" not in err
    assert "\x1b" not in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("arguments", ["train yolov8n_dattn device=0", "export MODEL format=engine"])
def test_a_gpu_that_is_not_there_is_one_line(arguments, model, capsys):
    assert main(arguments.replace("MODEL", model).split()) == 1
    assert capsys.readouterr().err == (
        "zoo: error: device 0 is not available; PyTorch sees no CUDA device. Use device cpu.\n"
    )


def test_push_looks_at_the_name_before_the_network(model, monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert main(["push", model, "foo"]) == 1


@pytest.mark.fast
class TestBoundary:
    """The one place where errors become lines."""

    @pytest.fixture
    def failing(self, monkeypatch):
        def fail_with(error):
            def fail(*_, **__):
                raise error

            monkeypatch.setattr("zoo.cli.table.show", fail)

        return fail_with

    def test_an_error_of_a_library_is_one_line_without_colours(self, failing, capsys):
        failing(RuntimeError("\x1b[31mout of\nmemory\x1b[0m"))
        assert main(["list"]) == 1
        assert capsys.readouterr().err == "zoo: error: RuntimeError: out of memory (add --debug to see where)\n"

    @pytest.mark.parametrize("arguments", [["--debug", "list"], ["list", "--debug"]])
    def test_debug_shows_where(self, failing, capsys, arguments):
        failing(KeyError("deep"))
        assert main(arguments) == 1
        err = capsys.readouterr().err
        assert "Traceback" in err and "in fail" in err
        assert err.endswith("zoo: error: KeyError: 'deep'\n")

    def test_a_package_that_is_not_there_is_named(self, failing, capsys):
        failing(ModuleNotFoundError("No module named 'coremltools'", name="coremltools"))
        assert main(["list"]) == 1
        assert "pip install coremltools" in capsys.readouterr().err

    def test_a_file_that_cannot_be_written_is_named(self, failing, capsys):
        failing(PermissionError(13, "Permission denied", "report.html"))
        assert main(["list"]) == 1
        assert capsys.readouterr().err == "zoo: error: report.html: Permission denied\n"

    def test_an_error_without_words_has_its_name(self, failing, capsys):
        failing(OSError())
        assert main(["list"]) == 1
        assert capsys.readouterr().err.startswith("zoo: error: OSError")

    def test_ctrl_c_is_130_and_says_how_to_go_on(self, failing, capsys):
        failing(KeyboardInterrupt("Go on with: zoo train last.pt resume=True"))
        assert main(["list"]) == 130
        assert "Go on with: zoo train last.pt" in capsys.readouterr().err

    def test_version(self, capsys):
        with pytest.raises(SystemExit) as exit:
            main(["--version"])
        assert exit.value.code == 0
        assert capsys.readouterr().out == f"zoo {zoo.__version__}\n"


def test_a_reader_that_has_enough_is_no_error():
    command = f"{sys.executable} -m zoo list --json | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "required"),
        ("fly", "fly"),
        ("predict yolov8n", "SOURCE"),
        ("predict yolov8n x.png --conf 1.5", "between 0 and 1"),
        ("predict yolov8n x.png --conf many", "between 0 and 1"),
        ("predict yolov8n x.png --imgsz 31", "at least 32"),
        ("predict yolov8n x.png --batch 0", "at least 1"),
        ("app --port 65536", "from 1 to 65535"),
    ],
)
@pytest.mark.fast
def test_malformed_arguments_exit_with_two(arguments, words, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments.split())
    assert exit.value.code == 2
    assert words in capsys.readouterr().err


def test_exit_code_of_the_process_on_bad_input(tmp_path):
    done = run("info", "yolov8n_datn", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
