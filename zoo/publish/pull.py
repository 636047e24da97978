"""Filling a folder with weights, for machines without a network: `ZOO_WEIGHTS_DIR` names it there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from zoo.errors import WeightsError
from zoo.files import replacing
from zoo.names import parse
from zoo.weights import find, manifest


def pull(directory: Path, names: Sequence[str] = (), *, every: bool = False) -> Iterator[tuple[str, Path]]:
    """Put trained weights into a folder, from this checkout, this machine's cache or the Hub.

    A file that is there and right is left alone, so the same call goes on after an interruption.

    Args:
        directory: Created when absent.
        names: `"<architecture>.<tag>"`, or `"<architecture>"` for its default tag; the default tags when empty.
        every: All tags instead.

    Yields:
        Each name and its file, when it is there.

    Raises:
        WeightsError: Weights cannot be found or verified; what came before is there.
    """
    known = list(manifest.entries())
    if not names:
        firsts = {parse(name).architecture: name for name in reversed(known)}
        names = known if every else [name for name in known if name in firsts.values()]
    for name in names:
        full_name, entry = manifest.find(name)
        file = directory / find.file_name(full_name)
        try:
            find.verified(file, entry.sha256, entry.bytes)
        except WeightsError:
            source = find.resolve(full_name)
            with replacing(file) as temporary:
                shutil.copyfile(source, temporary)
        yield full_name, file
