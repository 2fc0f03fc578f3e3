"""How long to wait after failures."""

from __future__ import annotations


def growing_wait_s(failures: int) -> float:
    """How long to wait after so many failures: 2 s, 12 s, 72 s, then 5 minutes."""
    return (2.0, 12.0, 72.0, 300.0)[min(failures, 3)]
