"""The shipped weights on real patients.

Accuracy is measured on patients that their training kept for validation (model/README.md, fold 0);
the one patient learnt from is a regression check and says nothing about accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from liver_unet.inference import liver_probability
from liver_unet.metrics import Agreement, agreement
from liver_unet.nifti import read_nifti
from liver_unet.postprocess import one_liver
from liver_unet.preprocess import to_model_input
from liver_unet.resample import resample
from liver_unet.segmenter import Segmenter, Stopwatch
from liver_unet.volume import Volume
from orthanc_liver.weights_folder import default_weights
from tests.support.real_data import real_ct

UNSEEN = ("ircad_01", "ircad_19", "btcv_0007", "btcv_0023", "btcv_0033", "btcv_0034")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load(default_weights(), "cpu")


def measured(segmenter: Segmenter, folder: Path) -> Agreement:
    hu, grid = read_nifti(folder / "ct.nii.gz")
    truth, _ = read_nifti(folder / "liver.nii.gz")
    liver = segmenter.segment(Volume(hu, grid), lambda stage, fraction: None, Stopwatch())
    assert liver is not None
    return agreement(liver.mask_on_ct(), truth > 0, grid)


def test_regression_on_one_patient_learnt_from(segmenter: Segmenter) -> None:
    found = measured(segmenter, real_ct("train", "btcv_0006"))
    assert found.dsc == pytest.approx(0.962, abs=0.003)


@pytest.mark.long
@pytest.mark.parametrize("patient", UNSEEN)
def test_each_unseen_patient(
    segmenter: Segmenter, patient: str, record_property: Callable[[str, object], None]
) -> None:
    found = measured(segmenter, real_ct("train", patient))
    record_property(patient, found)
    assert found.dsc >= 0.90, found


@pytest.mark.long
@pytest.mark.parametrize("patient", [*UNSEEN, "btcv_0009", "btcv_0026", "btcv_0039"])
def test_windows_near_the_liver_give_the_mask_of_all_windows(
    segmenter: Segmenter, patient: str, record_property: Callable[[str, object], None]
) -> None:
    """About agreement, not accuracy: here patients that were learnt from count too."""
    hu, ct_grid = read_nifti(real_ct("train", patient) / "ct.nii.gz")
    spec = segmenter.spec
    volume = Volume(hu, ct_grid)
    image, grid = to_model_input(volume, spec.spacing_mm, spec.window_hu)
    everywhere = liver_probability(
        segmenter.network, image, spec.patch, precision=segmenter.precision
    )
    expected = one_liver(resample(everywhere, grid, ct_grid, fill=0.0).numpy()) > 0.5
    liver = segmenter.segment(volume, lambda stage, fraction: None, Stopwatch())
    assert liver is not None
    found = agreement(liver.mask_on_ct(), expected, ct_grid)
    record_property(patient, found)
    assert found.dsc >= 0.995, found
