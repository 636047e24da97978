"""Where the files that travel with the code live."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def root() -> Path:
    """The folder of `weights_manifest.json`, `cards/`, `results/` and `weights/`: the wheel's copy or the checkout."""
    installed = _PACKAGE / "_data"
    return installed if installed.is_dir() else _PACKAGE.parent
