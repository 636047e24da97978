"""The page, in Gradio, and how it is served."""

from __future__ import annotations

import functools
import ipaddress
import os
import socket
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
import numpy as np
import uvicorn
from fastapi import FastAPI
from PIL import Image
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zoo.app import answers
from zoo.errors import OptionError, ZooError, one_line

TITLE = "yolo-attention-zoo"
INTRODUCTION = """# yolo-attention-zoo
Ultralytics YOLO with an attention mechanism grafted on. Left, what the model finds; right, what the same weights find
with every gate of the grafts shut."""
MOST_UPLOAD = "20mb"
# Whatever the page or its libraries may refer to, a browser asks this server alone.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' ws: wss: data: blob:"
)


def build(*, local: bool = False) -> gr.Blocks:
    """The page. Questions wait in one queue and are answered one at a time.

    Args:
        local: Only this machine can ask, so that a question may name any model, in a folder or on the Hub.
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 600)) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            names = answers.choices()
            label = "weights, or local-dir:PATH" if local else "weights"
            name = gr.Dropdown(names, value=names[0], label=label, allow_custom_value=local, elem_id="weights")
            conf = gr.Slider(0.01, 0.95, 0.25, step=0.01, label="least confidence")
            imgsz = gr.Slider(64, 1280, 416, step=32, label="longer side at the model, px")
        file = _picture(sources=["upload", "webcam", "clipboard"], label="picture", elem_id="picture")
        folder = tempfile.mkdtemp(prefix="zoo-examples-", dir=os.environ.get("GRADIO_TEMP_DIR"))
        if examples := answers.example_files(Path(folder)):
            gr.Examples(examples, [file, name], cache_examples=False, elem_id="examples")
        with gr.Tab("Detect and explain"):
            go = gr.Button("Detect", variant="primary", elem_id="detect")
            with gr.Row():
                found = _picture(
                    label="with the grafts: click to ask",
                    interactive=False,
                    buttons=["fullscreen", "download"],
                    elem_id="found",
                )
                without = _picture(
                    label="gates shut", interactive=False, buttons=["fullscreen", "download"], elem_id="without"
                )
            said = gr.Markdown(elem_id="said")
            looked = _picture(
                label="what the grafts look at from there",
                interactive=False,
                buttons=["fullscreen", "download"],
                elem_id="looked",
            )
        with gr.Tab("Compare exports"):
            export = gr.Button("Export and compare", elem_id="export")
            table = gr.Dataframe(
                headers=["format", "MB", "ms an image", "detections", "least overlap with PyTorch"], interactive=False
            )
        question = [file, name, conf, imgsz]
        # Gradio has a queue for each function otherwise, and all three ask the same models, whose gates they shut.
        go.click(_answered(_detect), question, [found, without, said], api_name="detect", concurrency_id="model")
        found.select(_answered(_explain), [*question, found], looked, api_name="explain", concurrency_id="model")
        export.click(_answered(answers.compare_exports), question, table, api_name="exports", concurrency_id="model")
    return page.queue(max_size=64, default_concurrency_limit=1)


def serve(host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serve the page until interrupted; uploads lie in a temporary folder that is removed then.

    Whoever asks from another machine has the choice of the weights that are listed.

    Raises:
        OptionError: The port is in use or not allowed.
    """
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            raise OptionError(
                f"port {port} of {host} cannot be used: {error.strerror}. Choose one with --port."
            ) from error
    with tempfile.TemporaryDirectory(prefix="zoo-app-") as uploads:
        os.environ["GRADIO_TEMP_DIR"] = uploads
        print(f"http://{host}:{port} (Ctrl-C ends it)", flush=True)
        uvicorn.run(application(local=_is_local(host)), host=host, port=port, log_level="warning")


def application(*, local: bool = False) -> FastAPI:
    """The page as an application that no browser leaves; `local` as in `build`."""
    app = FastAPI(docs_url=None, redoc_url=None)
    app.add_middleware(_StayHere)
    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    return gr.mount_gradio_app(app, build(local=local), path="", max_file_size=MOST_UPLOAD, theme=theme)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _StayHere:
    """Adds to every answer that browsers may ask this server alone."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = POLICY
            await send(message)

        await self.app(scope, receive, send_with_policy)


def _picture(**options: Any) -> gr.Image:
    """Gradio's picture, as a file both ways: opened by us, and written under a name that no other answer has.

    Gradio opens uploads before it asks us, and names files by content, so that two equal answers at once overwrite one
    another; an example is a file already. The methods are the instance's: for a subclass Gradio would write a stub into
    this package.
    """
    picture = gr.Image(type="filepath", **options)
    stock = picture.postprocess

    def preprocess(payload: Any) -> str | None:
        return payload.path if payload else None

    def postprocess(value: np.ndarray | str | None) -> Any:
        if not isinstance(value, np.ndarray):
            return stock(value)
        file = Path(picture.GRADIO_CACHE, f"{uuid.uuid4().hex}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(value).save(file, compress_level=1)  # half the time of an answer went into the last bytes
        picture.temp_files.add(str(file))
        return stock(str(file))

    setattr(picture, "preprocess", preprocess)  # noqa: B010
    setattr(picture, "postprocess", postprocess)  # noqa: B010
    return picture


def _answered(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose errors the page shows as one line."""

    @functools.wraps(function)
    def answer(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ZooError as error:
            raise gr.Error(one_line(error), print_exception=False) from error

    return answer


def _detect(file: str | None, name: str, conf: float, imgsz: int) -> tuple[Any, Any, str]:
    answer = answers.detect(file, name, conf, int(imgsz))
    return answer.with_grafts, answer.without_grafts, answer.text


def _explain(file: str | None, name: str, conf: float, imgsz: int, drawn: str, event: gr.SelectData) -> Any:
    (height, width), (shown_height, shown_width) = answers.read(file).shape[:2], answers.read(drawn).shape[:2]
    x = min(event.index[0] * width / shown_width, width - 1)
    y = min(event.index[1] * height / shown_height, height - 1)
    return answers.explain(file, name, conf, int(imgsz), (x, y))
