"""What the page answers, without a browser."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from zoo.app import answers
from zoo.errors import DataError, OptionError, ZooError

WEIGHTS = "yolov8n_dattn.digits"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("app") / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(path)
    return str(path)


def test_both_drawings_and_what_the_graft_changes(file):
    answer = answers.detect(file, WEIGHTS, 0.25, 64)
    assert answer.with_grafts.shape == answer.without_grafts.shape
    assert "DeformableAttention at layer 9 changes its map by" in answer.text


def test_explanation_is_a_picture(file):
    drawn = answers.explain(file, WEIGHTS, 0.25, 64, (79.9, 59.9))
    assert drawn.dtype == np.uint8 and drawn.shape[2] == 3 and min(drawn.shape[:2]) > 300


@pytest.mark.parametrize("name", ["yolov8n", "yolov8n+eca@p3", "nothing", "best.pt", "../x", "", "local-dir:/nowhere"])
def test_names_without_weights(file, name):
    with pytest.raises(ZooError):
        answers.detect(file, name, 0.25, 64)


def test_no_picture(tmp_path):
    with pytest.raises(DataError, match="upload a picture"):
        answers.detect(None, WEIGHTS, 0.25, 64)
    (tmp_path / "a.png").write_bytes(b"\x89PNG no")
    with pytest.raises(DataError, match=r"a\.png: it is no image that can be decoded"):
        answers.detect(str(tmp_path / "a.png"), WEIGHTS, 0.25, 64)


def test_too_many_pixels_are_not_decoded(tmp_path, monkeypatch):
    Image.new("1", (8000, 7000)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(DataError, match="8000 x 7000 pixels, more than 50 megapixels"):
        answers.read(str(tmp_path / "a.png"))


def test_point_outside(file):
    with pytest.raises(OptionError, match="outside the picture"):
        answers.explain(file, WEIGHTS, 0.25, 64, (80, 0))


def test_no_two_questions_shut_the_gates_of_one_model_at_once():
    page = pytest.importorskip("zoo.app.page").build()
    queues = {each.api_name: each.concurrency_id for each in page.fns.values()}
    assert queues["detect"] == queues["explain"] == queues["exports"]


@pytest.mark.parametrize(
    ("host", "local"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_only_this_machine_names_folders_and_repositories(host, local):
    page = pytest.importorskip("zoo.app.page")
    [names] = [each for each in page.build(local=page._is_local(host)).blocks.values() if each.elem_id == "weights"]
    for name in ("local-dir:/etc", "hf-hub:any/repo"):
        if local:
            assert names.preprocess(name) == name
        else:
            with pytest.raises(Exception, match="not in the list of choices"):
                names.preprocess(name)
