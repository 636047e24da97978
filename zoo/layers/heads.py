"""How many heads a block takes where its options do not say."""

from __future__ import annotations


def default_heads(dim: int, channels: int) -> int:
    """The most heads that divide `dim` and have at least `channels` channels each; one, where that is too many."""
    return max((heads for heads in range(1, dim // channels + 1) if dim % heads == 0), default=1)
