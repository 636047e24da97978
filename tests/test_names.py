"""One parser of every spelling: parse and print are inverse, and hostile names end in a `ZooError`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import ConfigError, UnknownModelError, ZooError
from zoo.info import list_models
from zoo.names import TASKS, GraftName, Name, hint, parse

pytestmark = pytest.mark.fast

WORD = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda word: word not in {"true", "false", "none"})
OPTION = st.one_of(
    st.integers(-(10**6), 10**6),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.none(),
    st.lists(st.integers(-9, 99), max_size=4).map(tuple),
    WORD.filter(lambda word: word not in {"nan", "inf", "infinity"}),
)
GRAFT = st.builds(
    GraftName,
    block=WORD,
    options=st.dictionaries(WORD, OPTION, max_size=3).map(lambda options: tuple(sorted(options.items()))),
    places=st.lists(WORD | st.integers(0, 99), min_size=1, max_size=3).map(tuple),
)
PLAIN = {
    "base": st.sampled_from(["yolov8", "yolo11", "yolo26", "yolo99"]),
    "scale": st.sampled_from("nsmlx"),
    "task": st.sampled_from(sorted(TASKS)),
    "layout": st.sampled_from(["", "p2", "p6"]),
}
REGISTERED = st.builds(Name, **PLAIN, family=st.just("") | WORD, tag=st.none() | st.just("bccd") | st.just("coco-416"))
FREE = st.builds(Name, **PLAIN, grafts=st.lists(GRAFT, min_size=1, max_size=3).map(tuple))
NAMES = REGISTERED | FREE


@given(NAMES)
def test_print_and_parse_are_inverse(name: Name) -> None:
    assert parse(str(name)) == name


SOUP = st.text(alphabet="yolov8n+@(),=._-/:\\ 0p\x00é", max_size=60)


@given(
    st.text(max_size=50)
    | SOUP
    | SOUP.map("yolov8n+".__add__)
    | st.tuples(NAMES.map(str), SOUP, st.integers(0, 40)).map(lambda t: t[0][: t[2]] + t[1] + t[0][t[2] :])
    | st.sampled_from(["+", "../", "yolov8n+a@p3", "(", "@p3,", "é", "1"]).map(lambda unit: unit * 2000)
)
def test_hostile_names_are_read_or_refused_and_what_is_read_prints_and_reads_again(text: str) -> None:
    started = time.perf_counter()
    try:
        name = parse(text)
    except ZooError as error:
        assert len(str(error)) < 500
    else:
        assert parse(str(name)) == name
    assert time.perf_counter() - started < 1


@given(st.none() | st.integers() | st.floats() | st.binary() | st.lists(st.integers()))
def test_what_is_no_string_is_no_name(value: object) -> None:
    with pytest.raises(UnknownModelError, match="a model's name is a string, found"):
        parse(value)


@pytest.mark.parametrize("text", [*list_models(), *list_models(pretrained=True)])
def test_registered_names_print_as_they_are(text: str) -> None:
    name = parse(text)
    assert str(name) == text and name.kind == "model" and name.scale and not name.layout


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("yolov8n_dattn.bccd", {"base": "yolov8", "scale": "n", "family": "dattn", "tag": "bccd"}),
        ("yolov8n_hat_p345", {"base": "yolov8", "scale": "n", "family": "hat_p345"}),
        ("yolo11x-seg", {"base": "yolo11", "scale": "x", "task": "segment"}),
        ("yolov8n-pose-p6", {"base": "yolov8", "scale": "n", "task": "pose", "layout": "p6"}),
        (
            "yolov8n+dattn(heads=4, ratio=0.5)@sppf+eca@p3,p4,7",
            {
                "base": "yolov8",
                "scale": "n",
                "grafts": (
                    GraftName("dattn", (("heads", 4), ("ratio", 0.5)), ("sppf",)),
                    GraftName("eca", (), ("p3", "p4", 7)),
                ),
            },
        ),
        ("yolo12l+hat(depths=(2,2))@image", {"base": "yolo12", "scale": "l"}),
        ("local-dir:runs/best+1", {"kind": "local-dir", "path": Path("runs/best+1")}),
        ("hf-hub:org/repo", {"kind": "hf-hub", "repo": "org/repo", "revision": None}),
        ("hf-hub:org/repo@v1", {"kind": "hf-hub", "repo": "org/repo", "revision": "v1"}),
        ("best.pt", {"kind": "file", "path": Path("best.pt")}),
        ("runs/exp+cbam@p3/best", {"kind": "file"}),
        ("../../etc/passwd", {"kind": "file"}),
        ("./yolov8n", {"kind": "file", "path": Path("yolov8n")}),
        ("yolov8_dattn", {"base": "yolov8", "scale": "", "family": "dattn"}),
    ],
)
def test_parts(text: str, parts: dict[str, object]) -> None:
    name = parse(text)
    assert {key: getattr(name, key) for key in parts} == parts
    assert parse(str(name)) == name


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("", UnknownModelError, "no model is called ''"),
        ("yolov8n dattn", UnknownModelError, "Names are like yolov8n_dattn"),
        ("local-dir:", UnknownModelError, "no model is called 'local-dir:'"),
        ("hf-hub:@main", UnknownModelError, "no model is called"),
        ("yolov8n\n", UnknownModelError, "no model is called"),
        ("x" * 10_000, UnknownModelError, r"\(10000 characters\)"),
        ("yolov8n+cbam", ConfigError, "'cbam' is no graft; write BLOCK@PLACE"),
        ("yolov8n+", ConfigError, "'' is no graft"),
        ("yolov8n+cbam@", ConfigError, "is no graft"),
        ("yolov8n+cbam@p3,", ConfigError, "is no graft"),
        ("yolov8n+cbam(=1)@p3", ConfigError, "options that cannot be read at '=1'"),
        ("yolov8n+cbam(a=1,a=2)@p3", ConfigError, "repeats 'a'"),
        ("yolov8n+cbam(a=1 b=2)@p3", ConfigError, "cannot be read at 'a=1 b=2'"),
        ("yolov8n+cbam(a=1e999)@p3", ConfigError, "'1e999' is no number"),
        ("yolov8n_dattn+cbam@p3", ConfigError, "free-form grafts go onto a plain base"),
        ("yolov8n.bccd+cbam@p3", ConfigError, "free-form grafts go onto a plain base"),
    ],
)
def test_messages_say_what_was_found(text: str, error: type[ZooError], words: str) -> None:
    with pytest.raises(error, match=words):
        parse(text)


def test_hints() -> None:
    assert hint("cbma", ["cbam", "halo"]) == "Did you mean cbam?"
    assert hint("xyz", ["cbam", "eca"]) == "Known are cbam, eca."
    assert hint("xyz", ["cbam"], "There is a list.") == "There is a list."
    assert hint("xyz", []) == "Known are none."
