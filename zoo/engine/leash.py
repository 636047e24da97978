"""`python -m zoo.engine.leash COMMAND`: the command, which ends when the process that started it does.

A training whose job was killed would otherwise go on, and keep its folder from the job that resumes it. By Linux'
PR_SET_PDEATHSIG, which a command keeps through exec; elsewhere it is the command alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the command."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # the starter died before
            sys.exit(1)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
