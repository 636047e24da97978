"""What users and Ultralytics do to a model, done to one grafted model of each family."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import ModelEMA

import zoo
from tests.alive import make_alive
from tests.families import FAMILIES
from zoo.config import STEM, GraftConfig, ModelConfig
from zoo.detector import GraftedDetectionModel, build
from zoo.errors import ChannelError, ConfigError
from zoo.registry import get_config


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request: pytest.FixtureRequest) -> Iterator[GraftedDetectionModel]:
    torch.manual_seed(0)
    yield make_alive(build(get_config(request.param)))


@pytest.fixture
def model(trained: GraftedDetectionModel) -> GraftedDetectionModel:
    """A copy that a test may spoil."""
    return deepcopy(trained)


def images(height: int = 96, width: int = 64, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def features(model: torch.nn.Module, x: Tensor) -> list[Tensor]:
    """The maps that the head read."""
    raw = model(x)[1]
    return raw.get("one2many", raw)["feats"]


def predict(model: torch.nn.Module, x: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(x)[0]


def test_the_grafts_matter(model: GraftedDetectionModel) -> None:
    grafted = predict(model, images())
    for graft in model.grafts.values():
        torch.nn.init.zeros_(graft.gamma)
    assert not torch.allclose(grafted, predict(model, images()), atol=1e-3)


def test_deepcopy_pickle_and_torch_save(trained: GraftedDetectionModel) -> None:
    expected = predict(trained, images())
    buffer = io.BytesIO()
    torch.save(trained, buffer)
    buffer.seek(0)
    copies = [deepcopy(trained), pickle.loads(pickle.dumps(trained)), torch.load(buffer, weights_only=False)]
    assert all(torch.equal(predict(copy, images()), expected) for copy in copies)
    assert all(copy.config == trained.config for copy in copies)


def test_fuse_keeps_the_function(model: GraftedDetectionModel) -> None:
    expected = predict(model, images())
    assert not model.is_fused()
    model.fuse(verbose=False)
    assert model.is_fused()
    torch.testing.assert_close(predict(model, images()), expected, atol=2e-2, rtol=1e-3)


def test_ema_averages_the_grafts(model: GraftedDetectionModel) -> None:
    ema = ModelEMA(model, decay=0.5, tau=1e-9)
    before = {key: value.clone() for key, value in ema.ema.grafts.state_dict().items()}
    with torch.no_grad():
        for parameter in model.grafts.parameters():
            parameter.add_(1)
    ema.update(model)
    after = ema.ema.grafts.state_dict()
    for key, parameter in model.grafts.named_parameters():
        torch.testing.assert_close(after[key], (before[key] + parameter.detach()) / 2)


def low_precision_error(model: GraftedDetectionModel, dtype: torch.dtype, autocast: bool) -> float:
    """Relative error of the raw feature maps in a low precision, the worst of the three levels."""
    with torch.inference_mode():
        exact = features(model, images())
        if autocast:
            with torch.autocast("cpu", dtype):
                low = features(model, images())
        else:
            low = features(deepcopy(model).to(dtype), images().to(dtype))
            assert all(feature.dtype == dtype for feature in low)
    return max(float((a.float() - b).norm() / b.norm()) for a, b in zip(low, exact, strict=True))


@pytest.mark.parametrize(
    ("dtype", "autocast"), [(torch.float16, False), (torch.bfloat16, False), (torch.bfloat16, True)]
)
def test_low_precision_costs_grafts_about_what_it_costs_the_base(
    trained: GraftedDetectionModel, dtype: torch.dtype, autocast: bool
) -> None:
    plain = deepcopy(trained)
    for graft in plain.grafts.values():
        torch.nn.init.zeros_(graft.gamma)
    error, allowed = (low_precision_error(model, dtype, autocast) for model in (trained, plain))
    # A graft on the image rounds what all layers read: 2.1 to 3.2 times the base's error, of the others at most 1.9.
    assert error < (4 if STEM in trained.grafts else 3) * allowed


def test_info_profile_and_embed(model: GraftedDetectionModel) -> None:
    layers, parameters, _, gflops = model.info(verbose=True)
    assert parameters == sum(parameter.numel() for parameter in model.parameters())
    assert layers > len(list(model.model.modules())) / 2
    assert gflops > 0
    widths: list[int] = []
    for index in (4, 9):
        model.model[index].register_forward_hook(lambda _, inputs, output: widths.append(output.shape[1]))
    embedded = model.predict(images(batch=2), embed=[4, 9])
    assert len(widths) == 2
    assert [vector.shape for vector in embedded] == [(sum(widths),)] * 2


def test_embed_sees_the_attended_map(trained: GraftedDetectionModel) -> None:
    position = next(iter(trained.grafts))
    index = 0 if position == "stem" else int(position)
    attended = torch.stack(trained.predict(images(), embed=[index]))
    plain = build(get_config(trained.config.base_name))
    plain.load_state_dict({key: value for key, value in trained.state_dict().items() if key.startswith("model.")})
    assert not torch.allclose(attended, torch.stack(plain.predict(images(), embed=[index])), atol=1e-5)


def test_augmented_inference(model: GraftedDetectionModel) -> None:
    with torch.inference_mode():
        found, _ = model(images(128, 96), augment=True)
    assert found.shape[1] == 84
    assert torch.isfinite(found).all()


@pytest.mark.parametrize(("height", "width"), [(480, 640), (352, 608), (672, 672), (32, 32), (32, 160)])
def test_any_size_that_the_base_takes(trained: GraftedDetectionModel, height: int, width: int) -> None:
    found = predict(trained, images(height, width))
    assert found.shape == (1, 84, height * width * 21 // 1024)
    assert torch.isfinite(found).all()


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.integers(1, 7), columns=st.integers(1, 7))
def test_a_row_does_not_depend_on_the_others(model: GraftedDetectionModel, rows: int, columns: int) -> None:
    """In float64: random attention magnifies rounding, in float32 up to 1.1e-3 of a map (yolo26n_dattn, 192 x 128)."""
    x = images(32 * rows, 32 * columns, batch=3).double()
    model.double()
    with torch.inference_mode():
        together, alone = features(model, x), features(model, x[1:2])
    assert all((a[1:2] - b).norm() < 1e-9 * b.norm() for a, b in zip(together, alone, strict=True))


def test_rebuild_from_yaml_as_ultralytics_does(trained: GraftedDetectionModel) -> None:
    rebuilt = GraftedDetectionModel(trained.yaml, nc=3, verbose=False)
    assert rebuilt.config.grafts == trained.config.grafts
    assert rebuilt.config.num_classes == 3
    again = GraftedDetectionModel(rebuilt.yaml, verbose=False)
    assert again.state_dict().keys() == rebuilt.state_dict().keys()
    assert {key: value.shape for key, value in again.state_dict().items()} == {
        key: value.shape for key, value in rebuilt.state_dict().items()
    }


def test_stock_ultralytics_refuses_to_rebuild_without_the_grafts(trained: GraftedDetectionModel) -> None:
    with pytest.raises(KeyError, match=r"carries attention grafts.*zoo\.YOLO"):
        DetectionModel(trained.yaml, verbose=False)


def test_building_leaves_the_given_dictionary_alone(trained: GraftedDetectionModel) -> None:
    plan = deepcopy(trained.yaml)
    GraftedDetectionModel(trained.yaml, nc=5, verbose=False)
    assert trained.yaml == plan


def test_training_on_more_classes_keeps_the_wider_class_branch() -> None:
    wide = build(get_config("yolov8n_dattn"))
    narrow = build(get_config("yolov8n_dattn").with_classes(3))
    narrow.load(wide, verbose=False)
    rebuilt = build(narrow.config)
    rebuilt.load_state_dict(narrow.state_dict())
    assert narrow.config.class_width == 80
    assert torch.equal(predict(rebuilt, images()), predict(narrow.eval(), images()))


def test_a_widened_control_is_larger_and_survives_saving_and_rebuilding(tmp_path: Path) -> None:
    model = zoo.create("yolov8n", width=0.27, num_classes=3)
    sizes = [sum(p.numel() for p in other.parameters()) for other in (zoo.create("yolov8n", num_classes=3), model)]
    assert 1.2 < sizes[1] / sizes[0] < 1.25
    rebuilt = GraftedDetectionModel(model.yaml, verbose=False)
    loaded = zoo.create(f"local-dir:{zoo.save(model, tmp_path / 'saved')}")
    for other in (rebuilt, loaded):
        assert other.config == model.config
        assert {k: v.shape for k, v in other.state_dict().items()} == {
            k: v.shape for k, v in model.state_dict().items()
        }


@pytest.mark.parametrize(
    "options",
    [
        {"name": "yolov8n_dattn.digits"},
        {"name": "yolov8n", "base_weights": True},
        {"name": "yolov8n", "pretrained": True},
    ],
)
def test_no_weights_fit_another_width(options: dict[str, object]) -> None:
    with pytest.raises(zoo.ZooError, match=r"no weights fit width=0\.3"):
        zoo.create(**options, width=0.3)


def test_a_fresh_class_head_expects_few_objects() -> None:
    model = build(get_config("yolov8n"))
    model.reset_classes(2)
    assert predict(model, images(320, 320))[:, 4:].max() < 0.2
    reference = build(get_config("yolov8n").with_classes(2)).state_dict()
    biases = {key: value for key, value in model.state_dict().items() if ".cv3." in key and key.endswith("2.bias")}
    assert len(biases) == 3
    for key, bias in biases.items():
        torch.testing.assert_close(bias, reference[key])


@pytest.mark.parametrize(
    ("graft", "error", "words"),
    [
        (GraftConfig(9, "datn"), ConfigError, "no attention block is called 'datn'. Did you mean dattn"),
        (GraftConfig(22, "a2"), ConfigError, "position 22 is not a layer before Detect"),
        (GraftConfig("neck_p6", "a2"), ConfigError, "yolov8n has no place 'neck_p6'. Did you mean neck_p"),
        (GraftConfig(9, "a2", {"surprise": 1}), ConfigError, "surprise"),
        (GraftConfig(9, "dattn", {"heads": 7}), ChannelError, "graft 'dattn' at position 9"),
    ],
)
def test_impossible_grafts(graft: GraftConfig, error: type[zoo.ZooError], words: str) -> None:
    with pytest.raises(error, match=words):
        build(ModelConfig("x", "yolov8", "n", (graft,)))


@pytest.mark.parametrize("name", ["yolov8n_dattn", "yolo11n_halo"])
def test_stock_checkpoint_lands_whole_through_ultralytics_load(name: str, tmp_path: Path) -> None:
    config = get_config(name)
    stock = DetectionModel(f"{config.base_name}.yaml", verbose=False)
    model = build(config)
    model.load(stock, verbose=False)
    state = model.state_dict()
    assert len(stock.state_dict()) == {"yolov8n": 355, "yolo11n": 499}[config.base_name]
    assert all(torch.equal(value, state[key]) for key, value in stock.state_dict().items())
