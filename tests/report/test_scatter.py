"""The drawing shows every model and says in its description what it shows."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest

from zoo.report.scatter import Panel, Point, draw

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
    drawn = texts(draw(two, "mAP"))
    assert all(drawn.count(point.label) == 1 for point in POINTS)
    assert {"one", "two", "three", "GFLOPs", "ms", "mAP"} <= set(drawn)


def test_there_are_bars_where_intervals_are():
    """A point with an interval adds the bar and its two caps, in the axes and in the legend."""

    def strokes(half):
        return draw([Panel("a", "c", [Point("m", 2, 0.5, half, False)])], "s").count("stroke: #1f77b4")

    assert strokes(0.1) > strokes(None)


def test_controls_are_grey_and_each_model_has_its_own_colour_in_every_panel():
    drawing = draw([Panel("a", "c", POINTS), Panel("b", "c", POINTS[::-1])], "s")
    fills = set(re.findall(r'<use [^>]*style="fill: (#\w{6})', drawing)) - {"#000000"}
    assert "#57606a" in fills and len(fills) == 1 + sum(not point.plain for point in POINTS)


def test_the_description_has_the_rows():
    (panel,) = shown(draw([Panel("a", "c", POINTS[:1])], "s"))
    point = {"label": "yolov8n", "cost": 8.1, "score": 0.56, "half": 0.006, "plain": True}
    assert panel == {"title": "a", "cost": "c", "points": [point]}


def test_it_is_the_same_each_time_and_fetches_nothing():
    drawing = draw([Panel("a", "c", POINTS)], "s")
    assert drawing == draw([Panel("a", "c", POINTS)], "s")
    assert drawing.startswith("<svg") and not re.search(r"url\((?!#)|href=\"(?!#)|<image", drawing)


@pytest.mark.parametrize("name", ["my <own> & model", "_private", r"$\bad$", '"quoted"'])
def test_a_name_is_text_as_it_stands(name):
    drawing = draw([Panel(name, "c", [Point(name, 1, 0.5, 0.1, False)])], "s")
    assert texts(drawing).count(name) == 2, "in the title and in the legend"
    assert shown(drawing)[0]["points"][0]["label"] == name


@pytest.mark.parametrize("costs", [(8.7,), (8.4, 8.5), (4, 260)])
def test_a_few_costs_are_on_the_axis_whatever_their_range(costs):
    points = [Point(f"m{cost}", cost, 0.5, None, False) for cost in costs]
    drawn = [text for text in texts(draw([Panel("a", "c", points)], "s")) if text.replace(".", "").isdigit()]
    assert 2 <= len(drawn) - 5 <= 15
