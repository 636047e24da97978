"""Which models stand for the registry where testing every scale would only cost time: all of them are read from it."""

from __future__ import annotations

import zoo
from zoo.registry import get_config

FAMILIES = [name for name in zoo.list_models() if get_config(name).scale == "n" and get_config(name).grafts]
"""Every grafted family, at its smallest scale."""

_BY_BLOCK = {get_config(name).grafts[0].block: name for name in reversed(FAMILIES)}
ONE_A_BLOCK = [name for name in FAMILIES if name in _BY_BLOCK.values()]
"""The first family of each block."""
