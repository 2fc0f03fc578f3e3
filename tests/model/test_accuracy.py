"""The weights on real patients.

Accuracy is that of the development weights on the patients whom they never saw. The default
weights, which learnt from all patients, have no patient left here to be measured on; theirs is a
regression check and says nothing about accuracy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from liver_unet.graph import load_graph
from liver_unet.liver import Liver, is_liver
from liver_unet.localise import coarse_localisation, fine_localisation
from liver_unet.metrics import Agreement, agreement
from liver_unet.model import Model
from liver_unet.network import for_inference
from liver_unet.nifti import read_nifti
from liver_unet.postprocess import Found, keep_one_liver, outline
from liver_unet.preprocess import to_model_input
from liver_unet.resample import resample
from liver_unet.segmenter import Segmenter
from liver_unet.stages import Stages
from liver_unet.volume import Volume
from liver_unet.weights import default_weights, load_model
from tests.support.real_data import DEVELOPMENT_WEIGHTS, UNSEEN, real_ct

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load(default_weights(), "cpu")


@pytest.fixture(scope="module")
def development() -> Segmenter:
    return Segmenter.load(DEVELOPMENT_WEIGHTS, "cpu")


def measured(segmenter: Segmenter, folder: Path) -> Agreement:
    hu, grid = read_nifti(folder / "ct.nii.gz")
    truth, _ = read_nifti(folder / "liver.nii.gz")
    liver = segmenter.segment(Volume(hu, grid), Stages())
    assert isinstance(liver, Liver)
    return agreement(liver.mask_on_ct(), truth > 0, grid)


def test_regression_on_one_patient_learnt_from(segmenter: Segmenter) -> None:
    found = measured(segmenter, real_ct("train", "btcv_0006"))
    assert found.dsc == pytest.approx(0.967, abs=0.003)


def test_the_accuracy_is_that_of_the_default_weights_recipe(
    segmenter: Segmenter, development: Segmenter
) -> None:
    def form(model: Model) -> tuple[object, ...]:
        spec = model.spec
        return spec.role, spec.spacing_mm, spec.patch, spec.channels, spec.class_names

    for role in ("fine", "coarse"):
        ours, evidence = getattr(segmenter, role), getattr(development, role)
        assert form(ours) == form(evidence)
        assert ours.spec.role == role
        assert ours.spec.sha256 != evidence.spec.sha256


@pytest.mark.long
@pytest.mark.parametrize("patient", UNSEEN)
def test_each_unseen_patient(
    development: Segmenter, patient: str, record_property: Callable[[str, object], None]
) -> None:
    found = measured(development, real_ct("train", patient))
    record_property(patient, found)
    assert found.dsc >= 0.90, found


@pytest.mark.long
@pytest.mark.parametrize("patient", UNSEEN)
def test_patches_around_the_liver_outline_it_as_well_as_a_grid_of_patches(
    development: Segmenter, patient: str, record_property: Callable[[str, object], None]
) -> None:
    """By one look of the fine network; the grid overlaps by half, everywhere, as published."""
    hu, ct_grid = read_nifti(real_ct("train", patient) / "ct.nii.gz")
    truth, _ = read_nifti(real_ct("train", patient) / "liver.nii.gz")
    fine, volume = development.fine, Volume(hu, ct_grid)
    image, grid = to_model_input(volume, fine.spec.spacing_mm, fine.spec.window_hu)
    everywhere = fine.probability(image)
    on_ct = resample(everywhere, grid, ct_grid, fill=0.0).numpy()
    keep_one_liver(on_ct)
    by_grid = is_liver(on_ct)
    look = coarse_localisation(image, fine, development.coarse, lambda fraction: None)
    assert look
    probability, box, mask = fine_localisation(
        fine.patches(image), look.on_image(image), lambda fraction: None
    )
    liver = outline(Found(image, grid, probability, box, mask), volume, Stages())
    assert isinstance(liver, Liver)
    expected = agreement(by_grid, truth > 0, ct_grid)
    found = agreement(liver.mask_on_ct(), truth > 0, ct_grid)
    record_property(patient, (found, expected))
    assert found.dsc >= expected.dsc - 0.005, (found, expected)
    assert agreement(liver.mask_on_ct(), by_grid, ct_grid).dsc >= 0.975


@pytest.mark.long
@pytest.mark.parametrize("patient", UNSEEN)
def test_openvino_and_torch_give_one_liver(
    patient: str, record_property: Callable[[str, object], None]
) -> None:
    """The shipped graph is that of the shipped weights; asked on every kind of processor."""
    network, spec = load_model(default_weights(), CPU)
    in_torch = Segmenter(Model(for_inference(network, torch.float32), spec, CPU, torch.float32))
    graph = load_graph(default_weights(), spec, torch.get_num_threads())
    hu, ct_grid = read_nifti(real_ct("train", patient) / "ct.nii.gz")
    in_openvino = Segmenter(Model(graph, spec, CPU, torch.float32))
    livers = [one.segment(Volume(hu, ct_grid), Stages()) for one in (in_torch, in_openvino)]
    ours, expected = (one.mask_on_ct() for one in livers if isinstance(one, Liver))
    found = agreement(ours, expected, ct_grid)
    record_property(patient, found)
    assert found.dsc >= 0.999, found
