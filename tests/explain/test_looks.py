"""`zoo.attention`: numbers and positions, against what hooks and hands say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from zoo.cli import main
from zoo.errors import DataError, OptionError
from zoo.explain import drawing
from zoo.explain.looks import attention
from zoo.layers.attention import Descriptors, Gates, Points

GRAFTED = zoo.list_models("*n_*")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = zoo.create("yolov8n_dattn")
    torch.nn.init.normal_(made.grafts["9"].gamma, std=0.5)
    return made


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8))


def test_change_is_the_relative_norm_of_what_the_graft_adds(model, picture):
    [look] = attention(model, picture, imgsz=160).looks
    graft = model.grafts["9"]
    seen = {}
    handle = graft.register_forward_hook(lambda _, inputs, output: seen.update(x=inputs[0], y=output))
    pixels = torch.full((1, 3, 96, 160), 114 / 255)
    pixels[..., 3:93, :] = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        model(pixels)
    handle.remove()
    added = graft.gamma[:, None, None] * graft.block(seen["x"])
    expected = added.norm(dim=1) / seen["x"].norm(dim=1)
    torch.testing.assert_close(torch.from_numpy(look.change)[None], expected, rtol=1e-3, atol=1e-5)
    assert look.change.shape == (3, 5)
    assert look.opened and look.strength > 0


def test_model_is_left_as_it_was(model, picture):
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    model.train()
    attention(model, picture, imgsz=160)
    assert model.training
    model.eval()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert not model.grafts["9"]._forward_hooks


def test_shut_gates_change_nothing(picture):
    found = attention(zoo.create("yolov8n_a2"), picture, imgsz=160)
    assert [(look.opened, look.strength) for look in found.looks] == [(False, 0.0)]
    assert torch.equal(found.found.boxes, found.found_without.boxes)
    assert not found.gained and not found.lost
    assert any("its gate never opened" in axes.get_title() for axes in drawing.draw(found).axes)


def test_a_cell_lies_where_the_point_is(model, picture):
    for x, y in ((0, 0), (159, 89), (80, 44), (33, 70)):
        found = attention(model, picture, imgsz=320, at=(x, y))
        [look] = found.looks
        (left, top), (right, bottom) = found.to_picture(
            torch.tensor(look.cell) + torch.tensor([[-0.5, -0.5], [0.5, 0.5]]), look.stride
        ).tolist()
        assert left <= x <= right and top <= y <= bottom


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"at": (160, 3)}, "outside the picture of 160 x 90"),
        ({"at": (-1, 3)}, "outside the picture"),
        ({"box": 5, "conf": 1.0}, "there is no detection 5: there are none"),
        ({"box": 0, "at": (1, 1)}, "either at"),
    ],
)
def test_impossible_questions(model, picture, options, message):
    with pytest.raises(OptionError, match=message):
        attention(model, picture, imgsz=160, **options)


def test_plain_model_has_nothing_to_show(picture):
    with pytest.raises(OptionError, match="nothing is grafted on it"):
        attention(zoo.create("yolov8n"), picture)


def test_what_is_no_model(picture):
    with pytest.raises(OptionError, match="found Conv2d"):
        attention(torch.nn.Conv2d(1, 1, 1), picture)


def test_no_file(model):
    with pytest.raises(DataError, match=r"missing\.png: there is no such file"):
        attention(model, "missing.png")


def test_one_pixel(model):
    assert attention(model, Image.new("RGB", (1, 1)), imgsz=64).at == (0.5, 0.5)


@pytest.mark.parametrize("name", GRAFTED)
def test_every_family_explains_itself(name, picture, tmp_path):
    torch.manual_seed(0)
    model = zoo.create(name)
    for graft in model.grafts.values():
        torch.nn.init.normal_(graft.gamma, std=0.5)
    found = attention(model, picture, imgsz=160, at=(50, 40), conf=0.001)
    for look in found.looks:
        assert look.parts, f"{look.block} says nothing of itself"
        for part in look.parts.values():
            assert isinstance(part, Points | Descriptors | Gates)
    file = drawing.save(found, tmp_path / "out.svg")
    assert file.stat().st_size > 10_000


@pytest.mark.parametrize("factors", [[0.5] * 64, [0.5, 0.5 + 2**-24] * 32, [0.1, 0.9] * 32], ids=["one", "near", "two"])
def test_factors_of_channels_are_drawn_however_near_each_other(factors, model, picture):
    found = attention(model, picture, imgsz=160)
    looks = [replace(look, parts={"channels": Gates(channels=torch.tensor([factors]))}) for look in found.looks]
    histogram = drawing.draw(replace(found, looks=looks)).axes[3]
    assert sum(bar.get_height() for bar in histogram.patches) == 64
    left, right = histogram.get_xlim()
    assert left < min(factors) and right > max(factors) and right - left >= 1e-3


@pytest.mark.fast
def test_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 48), "white").save("a.png")
    assert main(["explain", "yolov8n_dattn.digits", "a.png", "--at", "10,20", "--imgsz", "64"]) == 0
    assert "DeformableAttention at layer 9: changes its map by" in capsys.readouterr().out
    assert (tmp_path / "runs" / "explain" / "a_explained.png").is_file()
    assert main(["explain", "yolov8n_dattn.digits", "a.png", "--at", "100,20"]) == 1
    assert "outside the picture of 64 x 48 pixels" in capsys.readouterr().err
    assert main(["explain", "yolov8n_dattn.digits", "a.png", "--out", "x.txt"]) == 1
    assert "ends in one of png" in capsys.readouterr().err
