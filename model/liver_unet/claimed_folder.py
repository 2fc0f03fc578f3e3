"""A folder into which one process writes at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from liver_unet.model_errors import FolderTaken


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make the folder and keep others out of it, until the end or a kill; raises FolderTaken."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FolderTaken(
            f"another process writes into {folder}: wait until it has ended, or name another folder"
        ) from error
    except OSError:
        return  # some file systems of networks lock no folders
