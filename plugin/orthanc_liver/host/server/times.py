"""Times as Orthanc writes them, always UTC, and how long to wait after failures."""

from __future__ import annotations

from datetime import UTC, datetime


def text_of(time: datetime) -> str:
    """A UTC time as Orthanc writes it."""
    return time.strftime("%Y%m%dT%H%M%S.%f")


def time_of(text: str) -> datetime:
    """The UTC time that text_of wrote."""
    # Not strptime: after /tools/reset, which starts Python anew in the same process, it fails.
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def growing_wait_s(failures: int) -> float:
    """How long to wait after so many failures: 2 s, 12 s, 72 s, then 5 minutes."""
    return (2.0, 12.0, 72.0, 300.0)[min(failures, 3)]
