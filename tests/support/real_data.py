"""Where the real CT are: LIVER_DATA, else ../shared/data. Nothing of it is in the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("LIVER_DATA") or Path(__file__).resolve().parents[3] / "shared/data")


def real_ct(kind: str, name: str) -> Path:
    """The folder of one CT below "train" or "dicom"; the test skips where it is missing."""
    folder = DATA / kind / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; LIVER_DATA names where the real CT are")
    return folder
