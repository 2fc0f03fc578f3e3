"""From HU to a liver on the CT's own grid, by a network that knows the phantom's liver by HU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from liver_unet.inference import fastest_precision
from liver_unet.liver import Liver, NoLiver
from liver_unet.model_errors import NoNumbers
from liver_unet.segmenter import Segmenter
from liver_unet.stages import Stages
from liver_unet.volume import Volume
from tests.support.liver_by_hu import LiverByHu, block, model_of, opened_head, segmenter_by_hu
from tests.support.phantom import ORIENTATIONS, Orientation, Phantom, abdomen, head, oriented


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
    liver = segmented(turned.volume, segmenter_by_hu())
    assert isinstance(liver, Liver)
    found, truth = liver.mask_on_ct(), turned.liver
    dsc = 2 * (found & truth).sum() / (found.sum() + truth.sum())
    # A threshold at 5 mm misses the tumours and takes in some of what lies beside; a wrong axis
    # costs more.
    assert dsc > 0.75
    assert liver.volume_ml == pytest.approx(found.sum() * turned.volume.grid.voxel_ml)


def test_a_second_object_is_not_left_out_without_a_word(phantom: Phantom) -> None:
    """The phantom's spleen lies to the left, and is as bright as this network thinks a liver is."""
    liver = segmented(phantom.volume, segmenter_by_hu())
    assert isinstance(liver, Liver)
    (warning,) = (w for w in liver.warnings if "a second object of" in w)
    assert "mm to the left" in warning


def why(volume: Volume, by: Segmenter) -> NoLiver:
    found = segmented(volume, by)
    assert isinstance(found, NoLiver)
    return found


def test_nothing_like_a_liver_is_no_liver_after_coarse_localisation(phantom: Phantom) -> None:
    told: list[tuple[str, float]] = []
    stages = Stages(lambda stage, fraction: told.append((stage, fraction)))
    none = segmenter_by_hu(2000, 2100).segment(phantom.volume, stages)
    assert none == NoLiver("nothing that could be one was seen", 0.0)
    assert told[:2] == [("resample", 0.0), ("localise", 0.0)]
    assert list(dict.fromkeys(stage for stage, _ in told)) == list(stages.seconds)
    assert told[-1] == ("localise", 1.0)


def test_an_object_too_small_to_be_a_liver_is_none(phantom: Phantom) -> None:
    volume, true_ml = block(phantom, np.s_[20:26, 40:60, 50:66], 105)
    none = why(volume, segmenter_by_hu(-47, 200))
    assert none.reason == "what was seen measures less than 300 mL"
    assert true_ml == pytest.approx(137, abs=1)
    assert none.seen_ml == pytest.approx(true_ml, rel=0.3)
    speck, true_ml = block(phantom, np.s_[20:23, 40:46, 50:56], 105)
    none = why(speck, segmenter_by_hu(-47, 200))
    assert none.reason == "nothing that could be one was seen"
    assert none.seen_ml < 2 * true_ml


def test_an_object_as_dark_as_fat_is_none(phantom: Phantom) -> None:
    volume, true_ml = block(phantom, np.s_[14:34, 30:60, 40:80], -90)
    none = why(volume, segmenter_by_hu(-145, -60))
    assert none.reason == "what was seen is as dark as fat"
    assert none.seen_ml == pytest.approx(true_ml, rel=0.2)


class Overflown(LiverByHu):
    """Answers one voxel of the liver with what is no number."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = super().forward(image)
        found.view(*found.shape[:2], -1)[..., found[:, 1].flatten(1).argmax()] = torch.inf
        return found


def test_an_answer_that_is_no_number_is_told_and_never_outlined(phantom: Phantom) -> None:
    with pytest.raises(NoNumbers, match=r"what is no number \(on cpu\)"):
        segmented(phantom.volume, Segmenter(model_of(Overflown(88, 128))))


class OnceOnly(LiverByHu):
    """Finds what it looks for in the first patch alone."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = super().forward(image)
        self.low = self.high = 2.0
        return found


def test_what_fine_localisation_does_not_confirm_is_none(phantom: Phantom) -> None:
    volume, true_ml = block(phantom, np.s_[20:32, 40:60, 50:72], 105)
    once = Segmenter(model_of(OnceOnly(-47, 200)))
    none = why(volume, once)
    assert none.reason == "what the coarse network saw is no liver on closer inspection"
    assert 75 < none.seen_ml < true_ml * 1.1


def test_the_brain_in_a_skull_that_an_operation_opened_is_no_liver() -> None:
    closed, by = head(), segmenter_by_hu(15, 60)
    without = np.where(closed.hu > 300, 40, closed.hu)
    found = segmented(Volume(without, closed.grid), by)
    assert isinstance(found, Liver)
    none = why(opened_head(), by)
    assert none.reason == "what was seen lies along bone, as a brain does"
    assert 300 < none.seen_ml < found.volume_ml


def test_half_precision_only_where_the_processor_has_it() -> None:
    precision = fastest_precision(torch.device("cpu"))
    assert (precision == torch.bfloat16) == torch.cpu._is_avx512_bf16_supported()
