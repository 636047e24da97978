"""In CI hypothesis tries the same examples every time, elsewhere it looks for new ones. Skips are said once."""

from __future__ import annotations

import os
from collections import Counter

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("default", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_terminal_summary(terminalreporter):
    """One line that says what was not tested, and why."""
    skipped = Counter(
        str(report.longrepr[2]).removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", ())
    )
    reasons = "; ".join(f"{count} x {reason}" for reason, count in skipped.most_common())
    terminalreporter.write_line(f"not tested here: {reasons}" if skipped else "not tested here: nothing was skipped")
