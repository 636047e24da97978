"""The `zoo` command: assembled from one module a group of verbs, none of which imports torch before it runs a model."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence

import zoo
from zoo.cli import app, compare, explain, graft, hub, models, predict, runs, train
from zoo.errors import ZooError

DESCRIPTION = "Ultralytics YOLO detectors with an attention mechanism: your own weights under it, or trained ones."
EXAMPLES = """examples:
  zoo list                                                    the models, their size and their weights
  zoo predict yolov8n_dattn.coco photo.jpg                    detect, and draw what was found
  zoo train yolov8n_dattn pretrained=yolov8n.pt data=my.yaml  attention in a YOLO that keeps its weights
  zoo VERB --help                                             what a verb takes
"""
INTERRUPTED = 130
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    This is the one place where an error becomes a line of text; `--debug` shows the traceback before it.

    Args:
        argv: Arguments after the program's name; those of the process when omitted.

    Returns:
        Exit code: 0; 1 after an error; 130 after Ctrl-C. Malformed arguments exit with 2.
    """
    arguments = vars(_parser().parse_args(argv))
    debug = arguments.pop("debug")
    try:
        arguments.pop("verb")(**arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output, `head` say, has what it wants
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt as interrupt:
        print(f"\nzoo: stopped. {str(interrupt) or 'The same command starts again.'}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(f"zoo: error: {_line(error, debug)}", file=sys.stderr)
        return 1
    return 0


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28, width=min(110, shutil.get_terminal_size((110, 24)).columns))


def _line(error: Exception, debug: bool) -> str:
    text = " ".join(ANSI.sub("", str(error)).split())
    if isinstance(error, OSError) and not isinstance(error, ZooError) and error.filename and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    if isinstance(error, ZooError | OSError) and text:
        return text
    if isinstance(error, ModuleNotFoundError):
        return f"this needs the package {error.name}, which is not installed; try pip install {error.name}"
    hint = "" if debug else " (add --debug to see where)"
    return f"{type(error).__name__}{text and f': {text}'}{hint}"


def verbs() -> list[str]:
    """Every verb, in the order of the help."""
    [choices] = [action.choices for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)]
    return list(choices)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zoo",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {zoo.__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    anywhere = argparse.ArgumentParser(add_help=False)
    anywhere.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    subparsers = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    def add(verb: Callable[..., None], name: str | None = None) -> argparse.ArgumentParser:
        text = inspect.cleandoc(verb.__doc__ or "")
        added = subparsers.add_parser(
            name or verb.__name__,
            help=text.partition("\n")[0],
            description=text,
            parents=[anywhere],
            formatter_class=_Help,
            allow_abbrev=False,
        )
        added.set_defaults(verb=verb)
        return added

    for group in (models, predict, explain, app, graft, train, compare, runs, hub):
        group.add_verbs(add)
    return parser
