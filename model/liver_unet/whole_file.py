"""Files that are there whole or as they were before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield where to write; at the end that takes the place of path, so a kill leaves the former
    file."""
    part = path.with_suffix(path.suffix + ".part")
    yield part
    part.replace(path)
