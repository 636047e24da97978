"""The README says what the code says."""

import re

import pytest

import zoo
from benchmarks.tables import README, render

pytestmark = pytest.mark.fast


def test_generated_tables_are_up_to_date():
    text = README.read_text(encoding="utf-8")
    assert text == render(text), "run `make tables`"


def test_a_stale_table_is_noticed():
    text = README.read_text(encoding="utf-8")
    stale = text.replace("| `yolov8n_dattn` |", "| `yolov8n_other` |")
    assert stale != text
    assert render(stale) == text


def test_a_missing_marker_is_an_error():
    with pytest.raises(ValueError, match="families"):
        render("no markers")


def test_every_model_it_names_exists():
    named = set(re.findall(r"\byolo(?:v8|11)[nsmlx](?:_\w+)?(?!\.pt)\b", README.read_text(encoding="utf-8")))
    assert len(named) >= 40
    assert named - set(zoo.list_models()) == set()
