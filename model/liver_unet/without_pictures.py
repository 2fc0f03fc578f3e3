"""MONAI imports matplotlib where it is there, which will not start without a folder for a cache."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_pictures() -> Iterator[None]:
    """Import MONAI in here: it draws nothing for us, and so leaves nothing on the disk."""
    if "matplotlib" in sys.modules:
        yield
        return
    sys.modules["matplotlib"] = None  # type: ignore[assignment] # what Python means by missing
    try:
        yield
    finally:
        del sys.modules["matplotlib"]
