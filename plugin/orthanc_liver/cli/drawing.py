"""Where matplotlib keeps its cache while a command draws: nowhere else than with the results."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

_PLACE = "MPLCONFIGDIR"


@contextmanager
def drawing_into(out: Path) -> Iterator[None]:
    """Let nothing be left in the home folder, which may not be there, nor in out."""
    if _PLACE in os.environ:
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryDirectory(dir=out, prefix=".matplotlib-") as cache:
            os.environ[_PLACE] = cache
            yield
    finally:
        os.environ.pop(_PLACE, None)
        with suppress(OSError):
            out.rmdir()  # where a refused list left it empty
