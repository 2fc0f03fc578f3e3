"""The picture shows the patient the same way round, however the CT is stored."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from liver_unet.liver import Liver
from liver_unet.overlay import overlay_png
from tests.support.phantom import Orientation, Phantom, abdomen, oriented


def picture(phantom: Phantom) -> NDArray[np.float64]:
    grid = phantom.volume.grid
    z, y, x = (slice(0, n) for n in grid.shape)
    liver = Liver(phantom.liver.astype(np.float32), (z, y, x), grid)
    return np.asarray(Image.open(BytesIO(overlay_png(phantom.volume, liver))), dtype=np.float64)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return abdomen((40, 90, 118), (7.5, 3.6, 3.3))


@pytest.mark.parametrize("orientation", ["FFS", "HFP", "FFP", "reversed", "sagittal", "coronal"])
def test_the_patient_lies_as_always(phantom: Phantom, orientation: Orientation) -> None:
    upright, turned = picture(phantom), picture(oriented(phantom, orientation))
    assert turned.shape == upright.shape
    assert np.abs(turned - upright).mean() < 2
    # The phantom is not symmetric: a mirrored picture would be far off.
    assert np.abs(turned[:, ::-1] - upright).mean() > 10


def test_the_outline_runs_around_the_liver(phantom: Phantom) -> None:
    shown = picture(phantom)
    red = (shown[..., 0] > 200) & (shown[..., 1] < 100)
    width = round(117 * 3.3) + 1
    axial = red[:, :width]
    # The patient's right is on the picture's left, and so is most of the liver.
    assert axial[:, : width // 2].sum() > 1.3 * axial[:, width // 2 :].sum()
    assert 0.001 < red.mean() < 0.05
