"""Options that a block once had."""

from __future__ import annotations

from typing import Any

from zoo.errors import ConfigError


def refuse_retired(state: dict[str, Any], **kept: Any) -> None:
    """Let an old pickle in only if each option that is gone has the value that the block now always takes.

    Args:
        state: What `__setstate__` is given.
        **kept: That value for each option.

    Raises:
        ConfigError: The block was made with another value, and would now compute something else.
    """
    for name, value in kept.items():
        if state.get(name, value) != value:
            raise ConfigError(
                f"this pickled block was made with {name}={state[name]!r}, which is no longer an option (it is now "
                f"always {value!r}): load it with the version of the zoo that wrote it"
            )
