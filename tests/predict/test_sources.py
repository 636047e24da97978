"""What the words of `zoo predict` mean, on files that are never opened."""

import pytest

from zoo.errors import DataError, OptionError
from zoo.predict.sources import IMAGES, VIDEOS, find

pytestmark = pytest.mark.fast


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in ("a.png", "b.JPG", "c.mp4", "notes.pdf", "sub/d.png", "sub/deep/e.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a.png"], ["a.png"]),
        (["."], ["a.png", "b.JPG", "c.mp4"]),
        (["sub/*.png", "a.png"], ["sub/d.png", "a.png"]),
        (["**/*.tif"], ["sub/deep/e.tif"]),
        (["a.png", "a.png", "*.png"], ["a.png"]),
        (["*"], ["a.png", "b.JPG", "c.mp4"]),
    ],
)
def test_files_are_found_as_they_are_spelt(place, words, expected):
    found = find(words)
    assert list(map(str, found.files)) == expected
    assert not found.unusable


@pytest.mark.parametrize(
    "word", ["0", "12", "rtsp://camera/1", "http://host/live", "https://host/a.png", "screen", "screen 1", "x.streams"]
)
def test_streams_are_told_from_files(place, word):
    (place / "x.streams").touch()
    assert find([word]).streams == [word]


def test_a_file_called_like_the_screen_is_a_file(place):
    (place / "screen shots").mkdir()
    (place / "screen shots" / "a.png").touch()
    assert list(map(str, find(["screen shots"]).files)) == ["screen shots/a.png"]


@pytest.mark.parametrize("header", ["", "source\n"])
@pytest.mark.parametrize("name", ["list.txt", "list.csv"])
def test_lists_name_files_beside_themselves_or_here(place, name, header):
    (place / "sub" / name).write_text(f"\ufeff{header}a.png\n\n  d.png \ndeep/*.tif\nabsent.png\n", encoding="utf-8")
    found = find([f"sub/{name}"])
    assert list(map(str, found.files)) == ["a.png", "sub/d.png", "sub/deep/e.tif"]
    assert len(found.unusable) == 1
    assert "absent.png" in found.unusable[0]


def test_what_matches_nothing_does_not_stop_the_others(place):
    found = find(["none*.png", "a.png", "notes.pdf", "empty", "gone.png"])
    assert list(map(str, found.files)) == ["a.png"]
    assert [any(word in line for line in found.unusable) for word in ("none*", "notes.pdf", "empty", "gone")] == [
        True
    ] * 4


def test_nothing_at_all_is_an_error_with_every_reason(place):
    with pytest.raises(DataError, match=r"none\*\.png.*notes\.pdf.*folder"):
        find(["none*.png", "notes.pdf"])


def test_lists_that_lead_to_themselves_end(place):
    (place / "one.txt").write_text("a.png\ntwo.txt\n")
    (place / "two.txt").write_text("one.txt\nb.JPG\n")
    found = find(["one.txt"])
    assert list(map(str, found.files)) == ["a.png", "b.JPG"]
    assert found.unusable == ["The list 'one.txt' leads to itself."]


@pytest.mark.parametrize("word", ["", "  ", "absent.streams", "screen shot", "C:\\none.png"])
def test_words_that_are_nothing(place, word):
    with pytest.raises(DataError):
        find([word])


def test_settings_are_told_how_they_are_written(place):
    with pytest.raises(OptionError, match="--max-det 5"):
        find(["a.png", "max_det=5"])
    (place / "k=v.png").touch()
    assert list(map(str, find(["k=v.png"]).files)) == ["k=v.png"]


def test_a_list_that_is_no_text(place):
    (place / "list.txt").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(DataError, match=r"list\.txt is not UTF-8"):
        find(["list.txt"])


def test_suffixes_are_those_of_ultralytics():
    from ultralytics.data.utils import IMG_FORMATS, VID_FORMATS

    assert (IMAGES, VIDEOS) == (IMG_FORMATS, VID_FORMATS)
