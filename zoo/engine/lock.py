"""One process a folder: two would mix their rows and overwrite each other's checkpoints."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from filelock import FileLock, Timeout

from zoo.errors import OptionError


class FolderLock:
    """Held by the process that works in a folder; the operating system lets go of it when the process dies.

    Args:
        folder: Of a run, or of the jobs of a comparison or sweep.
        work: What the process does there, for the error that another one gets.
    """

    def __init__(self, folder: Path, work: str = "trains into it") -> None:
        self._folder = folder
        self._work = work
        self._lock = FileLock(folder / ".training.lock")
        self._holder = folder / ".training"

    def acquire(self) -> None:
        """Take the folder, creating it where it is absent.

        Raises:
            OptionError: Another process holds it; the message has its number.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            holder = self._holder.read_text() if self._holder.is_file() else "a process that did not say its number"
            raise OptionError(
                f"{self._folder} is in use: {holder} {self._work}. Wait for its end, or choose another folder with "
                "name=NAME or project=PATH."
            ) from None
        self._holder.write_text(f"process {os.getpid()} on {platform.node()}")

    def release(self) -> None:
        """Let go of the folder."""
        if self._lock.is_locked:
            self._holder.unlink(missing_ok=True)
            self._lock.release()

    def __enter__(self) -> FolderLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
