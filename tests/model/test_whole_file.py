"""A file is there whole or as it was, and an error of writing says where."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from liver_unet.whole_file import whole_file


def write_half(path: Path) -> None:
    """As Python's write does, whose error has no file's name."""
    with whole_file(path) as part:
        part.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_former_file_nothing_beside_it_and_says_where(
    tmp_path: Path,
) -> None:
    path = tmp_path / "liver.json"
    path.write_text("former")
    with pytest.raises(OSError, match="No space left") as full:
        write_half(path)
    assert full.value.filename == str(path)
    assert path.read_text() == "former"
    assert list(tmp_path.iterdir()) == [path]
    with whole_file(path) as part:
        part.write_text("new")
    assert path.read_text() == "new"
