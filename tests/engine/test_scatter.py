"""The drawing shows every point, covers none and is the same each time."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import scatter
from zoo.scatter import Point

pytestmark = pytest.mark.fast

SVG = "{http://www.w3.org/2000/svg}"
ZOO = [
    Point("yolov8n", 8.1, 0.560, 0.006),
    Point("yolov8n_a2", 8.2, 0.561, 0.004, "yolov8n", True),
    Point("yolov8n_dattn", 8.47, 0.565, 0.008, "yolov8n", True),
    Point("yolov8n_hat", 8.44, 0.556, None, "yolov8n", True),
    Point("yolov8n_hat_p345", 10.3, 0.570, 0.01, "yolov8n", True),
    Point("yolov8n_hat_stem", 9.9, 0.551, 0.02, "yolov8n", True),
    Point("yolov8n, width 0.29", 10.5, 0.565, 0.01, "yolov8n"),
    Point("yolo11n", 6.3, 0.552, 0.003),
    Point("yolo11n_halo", 6.5, 0.553, 0.006, "yolo11n", True),
    Point("yolov8s", 28.4, 0.590, 0.009),
]


def read(drawing):
    """The first panel: circles as (x, y), names as label to (left, top, right, bottom), and the root."""
    root = ElementTree.fromstring(drawing)
    panel = root.find(f"{SVG}g")
    circles = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in panel.iter(f"{SVG}circle")]
    names = {}
    for text in panel.iter(f"{SVG}text"):
        if re.match("yolo", text.text or ""):
            x, y, wide = float(text.attrib["x"]), float(text.attrib["y"]), 6.5 * len(text.text)
            left = x - wide if text.attrib["text-anchor"] == "end" else x
            names[text.text] = (left, y - 10, left + wide, y + 2)
    return circles, names, root


def test_names_cover_neither_each_other_nor_a_point():
    circles, names, root = read(scatter.draw({"bccd": ZOO}, "GFLOPs", "mAP"))
    assert set(names) == {point.label for point in ZOO} and len(circles) == len(ZOO)
    for one, other in itertools.combinations(names.values(), 2):
        assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    for (x, y), (left, top, right, bottom) in itertools.product(circles, names.values()):
        assert not (left - 4 < x < right + 4 and top - 4 < y < bottom + 4)
    for one, other in itertools.combinations(circles, 2):
        assert abs(one[0] - other[0]) >= 9.8 or abs(one[1] - other[1]) >= 9.8
    grafted = [g for g in root.iter(f"{SVG}g") if g.attrib.get("class") == "graft"]
    assert len(grafted) == sum(point.grafted for point in ZOO)


def test_the_same_bytes_for_the_same_points_in_any_order():
    assert scatter.draw({"a": ZOO}, "c", "s") == scatter.draw({"a": ZOO[::-1]}, "c", "s")


def test_it_brings_its_own_background_and_fetches_nothing():
    drawing = scatter.draw({"a <b>": ZOO[:1], "c": ZOO}, "cost & more", "score")
    _, _, root = read(drawing)
    _, _, width, height = root.attrib["viewBox"].split()
    page = root.find(f"{SVG}rect")
    assert (page.attrib["width"], page.attrib["height"]) == (width, height)
    assert "prefers-color-scheme:dark" in drawing and "url(" not in drawing and "href" not in drawing


costs = st.floats(0.01, 1e5)


@settings(max_examples=50)
@given(st.lists(st.tuples(costs, st.floats(0, 1), st.none() | st.floats(0, 0.5)), min_size=1, max_size=12))
def test_whatever_the_numbers_all_points_are_inside_and_costs_keep_their_order(values):
    points = [Point(f"yolo{i}", cost, score, half) for i, (cost, score, half) in enumerate(values)]
    circles, names, _ = read(scatter.draw({"d": points}, "GFLOPs", "mAP"))
    assert len(circles) == len(points) == len(names)
    assert all(0 < x < scatter.WIDTH and 0 < y < scatter.HEIGHT for x, y in circles)
    assert [x for x, _ in circles] == sorted(x for x, _ in circles)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8).map(sorted), st.floats(0.5, 10))
def test_values_are_moved_apart_no_more_than_needed(values, apart):
    moved = scatter.spread(values, apart)
    gaps = [b - a for a, b in itertools.pairwise(moved)]
    assert all(gap >= apart - 1e-9 for gap in gaps)
    assert sum(moved) == pytest.approx(sum(values), abs=1e-6)
    if all(b - a >= apart + 1e-9 for a, b in itertools.pairwise(values)):
        assert moved == pytest.approx(values)


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_ticks_enclose_the_range(low, span):
    ticks = scatter.ticks(low, low + span)
    slack = 1e-9 * (abs(low) + span + 1)
    assert ticks[0] <= low + slack and ticks[-1] >= low + span - slack and 2 <= len(ticks) <= 8


@given(st.floats(1e-3, 1e6), st.floats(1, 1e3))
def test_logarithmic_ticks_enclose_the_range(low, factor):
    ticks = scatter.log_ticks(low, low * factor)
    assert ticks[0] <= low * (1 + 1e-8) and ticks[-1] >= low * factor * (1 - 1e-8)
    assert 2 <= len(ticks) <= 12 and ticks == sorted(ticks)
