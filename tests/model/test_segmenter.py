"""From HU to a liver on the CT's own grid, by a network that knows the phantom's liver by HU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from liver_unet.inference import fastest_precision
from liver_unet.segmenter import Liver, Segmenter, Stopwatch
from liver_unet.volume import Volume
from liver_unet.weights import ModelSpec
from tests.support.phantom import ORIENTATIONS, Orientation, Phantom, abdomen, head, oriented

SPEC = ModelSpec(
    name="threshold",
    spacing_mm=3.0,
    window_hu=(-200.0, 250.0),
    patch=(48, 48, 48),
    channels=(1, 1),
    classes=2,
    training_data="none",
    accuracy="none",
    licence="none",
)


class LiverByHu(nn.Module):
    """Calls a range of HU liver; in the phantom, the largest such object is its liver."""

    def __init__(self, low_hu: float, high_hu: float) -> None:
        super().__init__()
        self.low, self.high = ((hu + 200) / 450 for hu in (low_hu, high_hu))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        smooth = nn.functional.avg_pool3d(image, 3, 1, 1, count_include_pad=False)
        inside = torch.minimum(smooth - self.low, self.high - smooth) * 200
        inside[nn.functional.max_pool3d(image, 3, 1, 1) >= 1] = -1  # between bone and the rest
        return torch.cat([-inside, inside], dim=1)


def segmenter(low_hu: float = 88, high_hu: float = 128) -> Segmenter:
    return Segmenter(LiverByHu(low_hu, high_hu), SPEC, torch.device("cpu"), torch.float32)


def segmented(volume: Volume, by: Segmenter) -> Liver | None:
    return by.segment(volume, lambda stage, fraction: None, Stopwatch())


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return abdomen((50, 90, 118), (6.0, 3.6, 3.3))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_liver_is_found_where_it_is_in_every_orientation(
    phantom: Phantom, orientation: Orientation
) -> None:
    turned = oriented(phantom, orientation)
    liver = segmented(turned.volume, segmenter())
    assert liver is not None
    found, truth = liver.mask_on_ct(), turned.liver
    dsc = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    # A threshold misses the tumours and takes in some of what lies beside; a wrong axis costs more.
    assert dsc > 0.8
    assert liver.volume_ml == pytest.approx(found.sum() * turned.volume.grid.voxel_ml)


def test_a_second_object_is_not_left_out_without_a_word(phantom: Phantom) -> None:
    """The phantom's spleen lies to the left, and is as bright as this network thinks a liver is."""
    liver = segmented(phantom.volume, segmenter())
    assert liver is not None
    (warning,) = (w for w in liver.warnings if "a second object of" in w)
    assert "mm to the left" in warning


def test_nothing_like_a_liver_is_no_liver_after_one_quick_look(phantom: Phantom) -> None:
    stages: list[str] = []
    none = segmenter(2000, 2100).segment(
        phantom.volume, lambda stage, fraction: stages.append(stage), Stopwatch()
    )
    assert none is None
    assert list(dict.fromkeys(stages)) == ["resample", "localise"]


def test_an_object_too_small_to_be_a_liver_is_none(phantom: Phantom) -> None:
    hu = np.full(phantom.volume.hu.shape, -900, dtype=np.int16)
    hu[20:24, 40:46, 50:56] = 105
    assert segmented(Volume(hu, phantom.volume.grid), segmenter()) is None


def test_the_brain_in_a_skull_that_an_operation_opened_is_no_liver() -> None:
    closed = head()
    column = np.indices(closed.hu.shape)[2]
    bone = closed.hu > 300
    opened = np.where(bone & (abs(column - 24) < 5), 40, closed.hu)
    without = np.where(bone, 40, closed.hu)
    by = segmenter(15, 60)
    assert segmented(Volume(without, closed.grid), by) is not None
    assert segmented(Volume(opened, closed.grid), by) is None


def test_half_precision_only_where_the_processor_has_it() -> None:
    precision = fastest_precision(torch.device("cpu"))
    assert (precision == torch.bfloat16) == torch.cpu._is_avx512_bf16_supported()
