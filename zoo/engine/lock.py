"""One training a folder: two would mix their rows and overwrite each other's checkpoints."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from filelock import FileLock, Timeout

from zoo.errors import OptionError


class FolderLock:
    """Held by the process that trains into a folder; the operating system lets go of it when the process dies.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / ".training.lock")
        self._holder = folder / ".training"

    def acquire(self) -> None:
        """Take the folder, creating it where it is absent.

        Raises:
            OptionError: Another training holds it; the message has its process.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            holder = self._holder.read_text() if self._holder.is_file() else "a process that did not say its number"
            raise OptionError(
                f"{self._folder} is in use: {holder} trains into it. Wait for its end, or choose another folder with "
                "name=NAME or project=PATH."
            ) from None
        self._holder.write_text(f"process {os.getpid()} on {platform.node()}")

    def release(self) -> None:
        """Let go of the folder."""
        if self._lock.is_locked:
            self._holder.unlink(missing_ok=True)
            self._lock.release()
