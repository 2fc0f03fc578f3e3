"""From nothing to a liver in a thousand patches: the whole of the training on real CT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from liver_unet.liver import Liver
from liver_unet.metrics import Agreement, agreement
from liver_unet.nifti import read_nifti
from liver_unet.segmenter import Segmenter
from liver_unet.stages import Stages
from liver_unet.training import ByPatches, Cards, load_config, train
from liver_unet.training.config import TrapezoidSchedule
from liver_unet.volume import Volume
from tests.support.real_data import DATA, real_ct

MEASURED = ("btcv_0034", "lits_011")


def learn(out: Path) -> None:
    """Whole bodies at 5 mm, coarse enough for one core; the development patients are left out."""
    coarse = load_config("coarse")
    small = replace(
        coarse,
        spacing_mm=5.0,
        patch=(48, 64, 64),
        batch=2,
        length=ByPatches(1000),
        schedule=TrapezoidSchedule(warmup=200, cooldown=0.35),
        validations=1,
    )
    torch.set_num_threads(1)  # counted in patches: what else runs must not slow it down further
    train(small, [DATA / "train", DATA / "train_coarse"], out, Cards(torch.device("cpu")))


def measured(weights: Path, patient: str) -> Agreement:
    folder = real_ct("train", patient)
    hu, grid = read_nifti(folder / "ct.nii.gz")
    truth, _ = read_nifti(folder / "liver.nii.gz")
    liver = Segmenter.load(weights, "cpu").segment(Volume(hu, grid), Stages())
    assert isinstance(liver, Liver), patient
    return agreement(liver.mask_on_ct(), truth > 0, grid)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_thousand_patches_find_the_liver(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    learn(tmp_path)
    for patient in MEASURED:
        found = measured(tmp_path / "last", patient)
        record_property(patient, found)
        assert found.dsc >= 0.85, (patient, found)
