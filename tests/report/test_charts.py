"""A chart shows every model, and a scatter says in its description what it shows."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest

from zoo.report.charts import Curve, Panel, Point, by_class, curves, front, looks, overview, scatter

SVG, DC = "{http://www.w3.org/2000/svg}", "{http://purl.org/dc/elements/1.1/}"
POINTS = [
    Point("yolov8n", 8.1, 0.56, 0.006, True),
    Point("yolov8n, width 0.27", 9.5, 0.565, 0.01, True),
    Point("yolov8n_a2", 8.2, 0.561, 0.004, False),
    Point("yolov8n_hat", 8.2, 0.556, None, False),
]


def shown(drawing):
    """What the description of a drawing holds."""
    return json.loads(ElementTree.fromstring(drawing).find(f".//{DC}description").text)


def texts(drawing):
    return [text.text for text in ElementTree.fromstring(drawing).iter(f"{SVG}text")]


def test_every_model_is_in_the_one_legend():
    two = [Panel("one", "GFLOPs", POINTS), Panel("two", "ms", POINTS[:2]), Panel("three", "ms", POINTS[1:])]
    drawn = texts(overview(two, "mAP"))
    assert all(drawn.count(point.label) == 1 for point in POINTS)
    assert {"one", "two", "three", "GFLOPs", "ms", "mAP"} <= set(drawn)


def test_there_are_bars_where_intervals_are():
    """A point with an interval adds the bar and its two caps, in the axes and in the legend."""

    def strokes(half):
        return overview([Panel("a", "c", [Point("m", 2, 0.5, half, False)])], "s").count("stroke: #2f81f7")

    assert strokes(0.1) > strokes(None)


def test_controls_are_grey_and_each_model_has_its_own_colour_in_every_panel():
    drawing = overview([Panel("a", "c", POINTS), Panel("b", "c", POINTS[::-1])], "s")
    fills = set(re.findall(r'<use [^>]*style="fill: (#\w{6})', drawing)) - {"#24292f"}
    assert "#7d8590" in fills and len(fills) == 1 + sum(not point.plain for point in POINTS)


def test_the_description_has_the_rows():
    (panel,) = shown(overview([Panel("a", "c", POINTS[:1])], "s"))
    point = {"label": "yolov8n", "cost": 8.1, "score": 0.56, "half": 0.006, "plain": True}
    assert panel == {"title": "a", "cost": "c", "points": [point]}


def test_it_is_the_same_each_time_and_fetches_nothing():
    drawing = overview([Panel("a", "c", POINTS)], "s")
    assert drawing == overview([Panel("a", "c", POINTS)], "s")
    assert drawing.startswith("<svg") and not re.search(r"url\((?!#)|href=\"(?!#)|<image", drawing)


@pytest.mark.parametrize("name", ["my <own> & model", "_private", r"$\bad$", '"quoted"'])
def test_a_name_is_text_as_it_stands(name):
    drawing = overview([Panel(name, "c", [Point(name, 1, 0.5, 0.1, False)])], "s")
    assert texts(drawing).count(name) == 2, "in the title and in the legend"
    assert shown(drawing)[0]["points"][0]["label"] == name


@pytest.mark.parametrize("costs", [(8.7,), (8.4, 8.5), (4, 260)])
def test_a_few_costs_are_on_the_axis_whatever_their_range(costs):
    points = [Point(f"m{cost}", cost, 0.5, None, False) for cost in costs]
    drawn = [text for text in texts(overview([Panel("a", "c", points)], "s")) if text.replace(".", "").isdigit()]
    assert 2 <= len(drawn) - 5 <= 15


def test_the_pareto_front_holds_what_nothing_beats():
    rows = [("a", 1, 0.5), ("b", 2, 0.4), ("c", 2, 0.6), ("d", 3, 0.6), ("e", 4, 0.7)]
    points = [Point(label, cost, score, None, False) for label, cost, score in rows]
    assert [point.label for point in front(points[::-1])] == ["a", "c", "e"]


def test_every_model_of_a_few_looks_its_own_way():
    labels = {f"model {index}": index % 2 == 0 for index in range(18)}
    drawn = looks(labels)
    assert len({(look.colour, look.marker) for look in drawn.values()}) == 18
    assert len({look.colour for label, look in drawn.items() if labels[label]}) == 1


PAGE = looks({"one": False, "two": True})
CURVES = [
    Curve("one", [1, 2, 3], [0.1, 0.2, 0.3], [0.0, 0.1, 0.2], [0.2, 0.3, 0.4]),
    Curve("two", [1], [0.1], [0.1], [0.1]),
]
DRAWINGS = {
    "scatter": lambda: scatter(Panel("t", "ms", [Point("one", 3, 0.5, 0.1, False)]), "mAP", PAGE),
    "curves": lambda: curves(CURVES, PAGE, "mAP"),
    "by_class": lambda: by_class(["a & b", "c"], {"one": {"a & b": (0.1, None), "c": (-0.2, 0.1)}}, PAGE),
}


@pytest.mark.parametrize("kind", DRAWINGS)
def test_a_drawing_of_a_page_takes_its_ink_from_the_page_and_has_ticks_on_both_axes(kind):
    drawing = DRAWINGS[kind]()
    assert "currentColor" in drawing and "var(--line)" in drawing and not re.search("#24292f|#d0d7de|<style", drawing)
    assert len([text for text in texts(drawing) if re.fullmatch(r"[\d.\N{MINUS SIGN}]+|a & b|c", text)]) >= 6
    assert not re.search(r' id="\w+_\d+"', drawing), "several drawings are in one page"


@pytest.mark.parametrize("costs", [(6.4, 10.2), (8.4, 8.5), (3, 11), (4, 260)])
def test_both_axes_have_real_ticks(costs):
    points = [Point("one", cost, 0.5 + cost / 1000, None, False) for cost in costs]
    drawn = texts(scatter(Panel("t", "ms", points), "mAP", PAGE))
    numbers = [float(text) for text in drawn if re.fullmatch(r"[\d.]+", text)]
    low, high = min(costs) * 0.7, max(costs) * 1.4
    assert len([number for number in numbers if low <= number <= high and number > 1]) >= 3
