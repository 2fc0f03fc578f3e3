"""Files that are there whole or as they were before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield where to write; at the end that takes the place of path, so a kill leaves the former
    file, and so does a full disk: OSError with path as its file's name."""
    part = path.with_suffix(path.suffix + ".part")
    try:
        with naming(path):
            yield part
            part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError of writing says which file was written: Python's own does not."""
    try:
        yield
    except OSError as error:
        if error.filename or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
