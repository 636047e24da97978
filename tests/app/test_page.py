"""The page in a real browser: what a visitor does, and what the browser asks of whom."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("served")) as address:
        yield address


@contextmanager
def serving(temporary):
    port = free_port()
    command = [sys.executable, "-m", "zoo", "app", "--port", str(port)]
    process = subprocess.Popen(
        command, env=os.environ | {"TMPDIR": str(temporary)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for _ in range(240):
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                break
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.5)
    yield f"http://127.0.0.1:{port}/"
    process.send_signal(2)
    process.wait(timeout=60)
    assert not list(temporary.glob("zoo-app-*")), "uploads are gone with the server"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)).save(folder / "good.png")
    (folder / "bad.png").write_bytes(b"this is text")
    return folder


@pytest.fixture
def visit(served):
    asked, errors = [], []
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.set_default_timeout(90_000)
        page.goto(served)
        page.wait_for_selector("#detect")
        yield page
        browser.close()
    outside = [url for url in asked if not url.startswith((served, "data:", "blob:"))]
    assert outside == [], "the browser asked somebody else"
    assert errors == []


def test_upload_detect_and_click(visit, files):
    visit.set_input_files("input[type=file] >> nth=0", files / "good.png")
    visit.wait_for_selector("#picture img[src*='/file=']")
    visit.click("#detect")
    visit.wait_for_selector("#found img")
    assert "changes its map by" in visit.inner_text("#said")
    visit.click("#found img", position={"x": 60, "y": 60})
    visit.wait_for_selector("#looked img")


def test_an_example_brings_the_weights_that_find_something_in_it(visit):
    visit.click("#examples tbody tr >> nth=-1")
    visit.wait_for_selector("#picture img[src*='/file=']")
    visit.click("#detect")
    visit.wait_for_selector("#found img")
    said = visit.inner_text("#said")
    assert "DeformableAttention" in said and "nothing with the grafts" not in said


def test_errors_are_one_line(visit):
    visit.click("#detect")
    visit.wait_for_selector("text=upload a picture first")
    assert "Traceback" not in visit.content()


def test_page_is_readable_on_a_phone(visit):
    visit.set_viewport_size({"width": 400, "height": 800})
    assert visit.evaluate("document.documentElement.scrollWidth") <= 400


def test_twenty_requests_at_once(served, files):
    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(served, verbose=False)
    picture = gradio_client.handle_file(str(files / "good.png"))

    def ask(_):
        return client.predict(picture, "yolov8n_dattn.digits", 0.25, 96, api_name="/detect")

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    assert all("changes its map by" in said for *_, said in answers)


def test_bad_file_is_refused_in_words(served, files):
    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(served, verbose=False)
    with pytest.raises(Exception, match="it is no image that can be decoded"):
        client.predict(
            gradio_client.handle_file(str(files / "bad.png")), "yolov8n_dattn.digits", 0.25, 96, api_name="/detect"
        )


def test_port_in_use(served):
    port = served.rsplit(":", 1)[1].strip("/")
    done = subprocess.run(
        [sys.executable, "-m", "zoo", "app", "--port", port], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and f"port {port} of 127.0.0.1 cannot be used" in done.stderr


def test_two_apps_at_once(served, files, tmp_path):
    """A second one on a port of its own answers, and its end takes nothing from the first."""
    gradio_client = pytest.importorskip("gradio_client")
    with serving(tmp_path) as other:
        assert other != served
        answer(gradio_client, other, files / "good.png")
    answer(gradio_client, served, files / "good.png")


def answer(gradio_client, address, file):
    client = gradio_client.Client(address, verbose=False)
    *_, said = client.predict(
        gradio_client.handle_file(str(file)), "yolov8n_dattn.digits", 0.25, 96, api_name="/detect"
    )
    assert "changes its map by" in said


def test_a_space_has_what_it_needs(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "zoo", "app", "--space", str(tmp_path / "space")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(tmp_path / "space") in done.stdout
    for name in ("app.py", "README.md", "requirements.txt", "zoo/app/page.py", "zoo/_data/weights_manifest.json"):
        assert (tmp_path / "space" / name).is_file()
    code = "import zoo.app.page as page; page.build(); import zoo; zoo.create('yolov8n_dattn', pretrained=True)"
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "space", env=os.environ | {"PYTHONPATH": "."}, check=True
    )
    again = subprocess.run(
        [sys.executable, "-m", "zoo", "app", "--space", str(tmp_path / "space")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 1 and "is not empty" in again.stderr
