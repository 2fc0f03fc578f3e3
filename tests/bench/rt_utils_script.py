"""rt-utils on a mask, timed; runs in rt-utils' own environment."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rt_utils import RTStructBuilder

from tests.bench.child import tell


def main(folder: Path) -> None:
    """Turn FOLDER/reference.npy, a mask on FOLDER/dicom, into FOLDER/reference.dcm."""
    mask = np.load(folder / "reference.npy").transpose(1, 2, 0)
    marks = [time.perf_counter()]
    rtstruct: Any = RTStructBuilder.create_new(dicom_series_path=str(folder / "dicom"))
    marks.append(time.perf_counter())
    rtstruct.add_roi(mask=mask, name="Liver")
    marks.append(time.perf_counter())
    rtstruct.save(str(folder / "reference.dcm"))
    marks.append(time.perf_counter())
    seconds = dict(zip(("read", "contour", "write"), np.diff(marks).tolist(), strict=True))
    tell([seconds])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
