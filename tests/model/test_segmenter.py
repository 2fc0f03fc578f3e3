"""From HU to a liver on the CT's own grid, by a network that knows the phantom's liver by HU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from liver_unet.inference import fastest_precision
from liver_unet.liver import Liver, NoLiver
from liver_unet.segmenter import Segmenter
from liver_unet.stages import Stages
from liver_unet.volume import Box, Volume
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


def segmented(volume: Volume, by: Segmenter) -> Liver | NoLiver:
    return by.segment(volume, Stages())


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return abdomen((50, 90, 118), (6.0, 3.6, 3.3))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_liver_is_found_where_it_is_in_every_orientation(
    phantom: Phantom, orientation: Orientation
) -> None:
    turned = oriented(phantom, orientation)
    liver = segmented(turned.volume, segmenter())
    assert isinstance(liver, Liver)
    found, truth = liver.mask_on_ct(), turned.liver
    dsc = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    # A threshold misses the tumours and takes in some of what lies beside; a wrong axis costs more.
    assert dsc > 0.8
    assert liver.volume_ml == pytest.approx(found.sum() * turned.volume.grid.voxel_ml)


def why(volume: Volume, by: Segmenter) -> NoLiver:
    found = segmented(volume, by)
    assert isinstance(found, NoLiver)
    return found


def test_nothing_like_a_liver_is_no_liver_after_coarse_localisation(phantom: Phantom) -> None:
    told: list[tuple[str, float]] = []
    stages = Stages(lambda stage, fraction: told.append((stage, fraction)))
    none = segmenter(2000, 2100).segment(phantom.volume, stages)
    assert none == NoLiver("nothing that could be one was seen", 0.0)
    assert told[:2] == [("resample", 0.0), ("localise", 0.0)]
    assert list(dict.fromkeys(stage for stage, _ in told)) == list(stages.seconds)
    assert told[-1] == ("localise", 1.0)


def block(phantom: Phantom, box: Box, hu: int) -> tuple[Volume, float]:
    """In air where the phantom lies, and its mL."""
    values = np.full(phantom.volume.hu.shape, -900, dtype=np.int16)
    values[box] = hu
    return Volume(values, phantom.volume.grid), float((values > -900).sum()) * (
        phantom.volume.grid.voxel_ml
    )


def test_an_object_too_small_to_be_a_liver_is_none(phantom: Phantom) -> None:
    volume, true_ml = block(phantom, np.s_[20:26, 40:60, 50:66], 105)
    none = why(volume, segmenter(0, 200))
    assert none.reason == "what was seen measures less than 300 mL"
    assert true_ml == pytest.approx(137, abs=1)
    assert none.seen_ml == pytest.approx(true_ml, rel=0.2)
    speck, true_ml = block(phantom, np.s_[20:23, 40:46, 50:56], 105)
    none = why(speck, segmenter(0, 200))
    assert none.reason == "nothing that could be one was seen"
    assert none.seen_ml == pytest.approx(true_ml, rel=0.9)


def test_an_object_as_dark_as_fat_is_none(phantom: Phantom) -> None:
    volume, true_ml = block(phantom, np.s_[14:34, 30:60, 40:80], -90)
    none = why(volume, segmenter(-150, -60))
    assert none.reason == "what was seen is as dark as fat"
    assert none.seen_ml == pytest.approx(true_ml, rel=0.1)


class OnceOnly(LiverByHu):
    """Finds what it looks for in the first patch alone."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = super().forward(image)
        self.low = self.high = 2.0
        return found


def test_what_fine_localisation_does_not_confirm_is_none(phantom: Phantom) -> None:
    volume, true_ml = block(phantom, np.s_[20:32, 40:60, 50:72], 105)
    once = Segmenter(OnceOnly(0, 200), SPEC, torch.device("cpu"), torch.float32)
    none = why(volume, once)
    assert none.reason == "what coarse localisation saw is none on closer inspection"
    assert 75 < none.seen_ml < true_ml * 1.1


def test_the_brain_in_a_skull_that_an_operation_opened_is_no_liver() -> None:
    closed = head()
    column = np.indices(closed.hu.shape)[2]
    bone = closed.hu > 300
    opened = np.where(bone & (abs(column - 24) < 5), 40, closed.hu)
    without = np.where(bone, 40, closed.hu)
    by = segmenter(15, 60)
    found = segmented(Volume(without, closed.grid), by)
    assert isinstance(found, Liver)
    none = why(Volume(opened, closed.grid), by)
    assert none.reason == "what was seen lies along bone, as a brain does"
    assert 300 < none.seen_ml < found.volume_ml


def test_half_precision_only_where_the_processor_has_it() -> None:
    precision = fastest_precision(torch.device("cpu"))
    assert (precision == torch.bfloat16) == torch.cpu._is_avx512_bf16_supported()
