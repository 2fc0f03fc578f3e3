"""Times as Orthanc writes them, always UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def text_of(time: datetime) -> str:
    """A UTC time as Orthanc writes it."""
    return time.strftime("%Y%m%dT%H%M%S.%f")


def time_of(text: str) -> datetime:
    """The UTC time that text_of wrote."""
    # Not strptime: after /tools/reset, which starts Python anew in the same process, it fails.
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
