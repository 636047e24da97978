from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.config import BASES, SCALES, SCHEMA, GraftConfig, ModelConfig
from zoo.errors import ConfigError, ZooError
from zoo.registry import get_config, names

pytestmark = pytest.mark.fast

VALID = get_config("yolov8n_hat").to_dict()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("name", names())
def test_json_round_trip(name: str) -> None:
    config = get_config(name)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(
    base=st.sampled_from(BASES),
    scale=st.sampled_from(SCALES),
    num_classes=st.integers(1, 1000),
    named=st.booleans(),
    width=st.none() | st.floats(0.1, 2.0),
    positions=st.lists(st.integers(0, 21) | st.just("stem"), unique=True, max_size=4),
    options=st.dictionaries(
        st.text(min_size=1, max_size=5),
        st.integers(-64, 64)
        | st.booleans()
        | st.text(max_size=5)
        | st.none()
        | st.lists(st.integers(0, 16), max_size=3).map(tuple),
        max_size=3,
    ),
)
def test_any_valid_config_survives_json(base, scale, num_classes, named, width, positions, options) -> None:
    config = ModelConfig(
        name="x",
        base=base,
        scale=scale,
        grafts=tuple(GraftConfig(position, "hat", options) for position in positions),
        num_classes=num_classes,
        width=width,
        class_names=tuple(map(str, range(num_classes))) if named else None,
    )
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(JSON)
def test_arbitrary_json_raises_only_config_errors(data: object) -> None:
    with pytest.raises(ConfigError):
        ModelConfig.from_dict(data)


@given(key=st.sampled_from(sorted(VALID)), value=JSON)
def test_one_broken_value_raises_only_zoo_errors(key: str, value: object) -> None:
    try:
        config = ModelConfig.from_dict({**VALID, key: value})
    except ZooError:
        return
    assert ModelConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base": "yolov5"}, "base must be one of yolov8, yolo11, yolo12, yolo26, found 'yolov5'"),
        ({"scale": "h"}, "scale must be one of n, s, m, l, x"),
        ({"schema": SCHEMA + 1}, "update yolo-attention-zoo"),
        ({"num_classes": 0}, "num_classes must be an integer between 1"),
        ({"num_classes": True}, "num_classes must be an integer"),
        ({"width": 1}, "width must be null or a number between 0.1 and 2.0, found 1"),
        ({"width": float("nan")}, "width must be null"),
        ({"width": 9.0}, "width must be null"),
        ({"class_names": ["a"]}, "1 class names for num_classes=80"),
        ({"surprise": 1}, "unknown model config keys ['surprise']"),
        ({"grafts": [{"position": -1, "block": "hat"}]}, "graft position must be a layer index or a place, found -1"),
        ({"grafts": [{"position": 21}]}, "graft lacks ['block']"),
        ({"grafts": [{"position": 1, "block": "hat"}] * 2}, "two grafts share a position"),
        ({"grafts": [{"position": 1, "block": "hat", "options": {"a": {}}}]}, "graft option a={}"),
    ],
)
def test_messages_say_what_was_found(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as error:
        ModelConfig.from_dict({**VALID, **change})
    assert words in str(error.value)


def test_missing_keys_are_named() -> None:
    with pytest.raises(ConfigError, match=r"lacks \['base', 'scale'\]"):
        ModelConfig.from_dict({"schema": SCHEMA, "name": "x"})
