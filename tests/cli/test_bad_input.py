"""What the command line says of what cannot be: one line, and an exit code."""

import pytest

from tests.cli.process import run
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
        ("train yolov8n_dattn data=x.yaml epoch=3", ["epoch", "Did you mean epochs"]),
        ("train yolov8n_dattn model=yolov8s", ["model"]),
        ("train yolov8n_dattn epochs", ["'epochs'", "key=value"]),
        ("train yolov8n_dattn epochs=three", ["epochs", "int"]),
        ("train yolov8n_dattn epochs=3", ["data=FILE.yaml"]),
        ("train yolov8n_dattn data=absent.yaml", ["absent.yaml"]),
        ("train yolov8n_dattn data=empty.yaml", ["empty.yaml", "train"]),
        ("val MODEL data=nameless.yaml", ["nameless.yaml", "names"]),
        ("val MODEL data=imageless.yaml", ["imageless.yaml", "nowhere"]),
        ("export MODEL format=onx", ["onx", "onnx"]),
        ("export MODEL", ["format=", "onnx"]),
        ("export yolov8n_datn", ["yolov8n_datn", "Did you mean yolov8n_dattn"]),
        ("verify yolov8n_datn", ["yolov8n_datn"]),
        ("card yolov8n_datn", ["yolov8n_datn", "Did you mean yolov8n_dattn"]),
        ("push yolov8x_hat_p345 org/repo", ["yolov8x_hat_p345", "no trained weights"]),
        ("push local-dir:lacking org/repo", ["lacking"]),
    ],
)
def test_bad_input_gets_one_clear_line(arguments, words, workplace, model, capsys):
    assert main(arguments.replace("MODEL", model).split()) == 1
    err = capsys.readouterr().err
    line = err.strip().splitlines()[-1]
    assert line.startswith("zoo: error: ")
    assert all(word in line for word in words), line
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("", "required"),
        ("fly", "fly"),
        ("predict yolov8n", "SOURCE"),
        ("predict yolov8n x.png --conf 1.5", "between 0 and 1"),
        ("predict yolov8n x.png --conf many", "between 0 and 1"),
        ("predict yolov8n x.png --imgsz 31", "at least 32"),
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
