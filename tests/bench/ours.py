"""One series through our pipeline, from instance bytes to RTSTRUCT bytes, some times over."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from liver_unet.segmenter import Segmenter
from liver_unet.weights import default_weights
from orthanc_liver.engine.protocol import JobSettings
from orthanc_liver.pipeline import Segmentation, segment_series
from tests.bench.child import tell


def main(folder: Path, runs: int) -> None:
    """Leave the mask beside the series, for comparison."""
    segmenter = Segmenter.load(default_weights())
    segmenter.warm_up()
    # As in the inference process, no run holds the result of another.
    seconds = [_once(folder, segmenter).report["seconds"] for _ in range(runs - 1)]
    outcome = _once(folder, segmenter)
    seconds.append(outcome.report["seconds"])
    if outcome.liver is None:
        sys.exit("no liver found")
    mask = outcome.liver.mask_on_ct()
    tell(seconds, liver_ml=outcome.report["liver_ml"], threads=torch.get_num_threads())
    np.save(folder / "ours.npy", mask)


def _once(folder: Path, segmenter: Segmenter) -> Segmentation:
    return segment_series(
        _instances(folder / "dicom"),
        segmenter,
        JobSettings(minimum_slices=10),
        created=datetime.now(UTC),
        progress=lambda stage, fraction: None,
    )


def _instances(folder: Path) -> Iterator[bytes]:
    return (path.read_bytes() for path in sorted(folder.iterdir()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
