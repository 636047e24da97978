"""The verb that serves the browser demo: app."""

from __future__ import annotations

from pathlib import Path

from zoo.cli.arguments import Add, port
from zoo.errors import OptionError


def add_verbs(add: Add) -> None:
    """Add this module's verb to the command line."""
    serving = add(app)
    serving.add_argument(
        "--host", default="127.0.0.1", help="address to serve (default: %(default)s, this machine alone)"
    )
    serving.add_argument("--port", type=port, default=7860, help="port (default: %(default)s)")
    serving.add_argument("--space", type=Path, metavar="DIR", help="write a Hugging Face Space instead of serving")


def app(host: str, port: int, space: Path | None) -> None:
    """Show models in the browser.

    Upload a picture; see what is found with the grafts and without, and click to see what they look at.
    """
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise OptionError("the demo needs Gradio: pip install 'yolo-attention-zoo[app]'") from error
    if space:
        from zoo.app.space import write

        print(f"{write(space)}: publish it with `hf upload ORG/NAME {space} --repo-type space`")
        return
    from zoo.app.page import serve

    serve(host, port)
