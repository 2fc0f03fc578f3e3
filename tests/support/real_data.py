"""Where the real CT are: LIVER_DATA, else ../shared/data. Nothing of it is in the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from liver_unet.weights import default_weights

DATA = Path(os.environ.get("LIVER_DATA") or Path(__file__).resolve().parents[3] / "shared/data")

# The development patients, and the weights that never saw them. The default weights learnt from
# all patients by the same recipe: nothing here can tell how accurate they are.
UNSEEN = (
    "ircad_01",
    "ircad_19",
    "btcv_0007",
    "btcv_0023",
    "btcv_0033",
    "btcv_0034",
    "lits_004",
    "lits_011",
    "radct_1720_eqp",
)
DEVELOPMENT_WEIGHTS = default_weights() / "development"


def real_ct(kind: str, name: str) -> Path:
    """The folder of one CT below "train" or "dicom"; the test skips where it is missing."""
    folder = DATA / kind / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; LIVER_DATA names where the real CT are")
    return folder
