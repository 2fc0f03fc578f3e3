"""The exported bundle, run by MONAI in a process of its own, gives the mask that we give."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle.properties import MetaProperties
from monai.bundle.workflows import ConfigWorkflow

from liver_unet.bundle import export_bundle
from liver_unet.inference import liver_probability
from liver_unet.liver import Liver, NoLiver, is_liver
from liver_unet.metrics import dice
from liver_unet.monai_transforms import ReadCt, WriteLiver
from liver_unet.network import build_network
from liver_unet.nifti import read_nifti, write_nifti
from liver_unet.postprocess import Found, Mask, largest_object, outline
from liver_unet.preprocess import to_model_input
from liver_unet.segmenter import Segmenter
from liver_unet.stages import Stages
from liver_unet.volume import Volume
from liver_unet.weights import ModelSpec, load_model, save_weights
from tests.support.liver_by_hu import block, opened_head, segmenter_by_hu
from tests.support.phantom import Phantom, abdomen, head, oriented, small_abdomen

FULL = Path("/dev/full")
SPEC = ModelSpec(
    name="tiny",
    spacing_mm=9.0,
    window_hu=(-200.0, 250.0),
    patch=(16, 20, 28),
    channels=(4, 8, 16),
    classes=3,
    training_data="nobody",
    accuracy="none",
    licence="research use",
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(2)
    save_weights(build_network(SPEC.channels, SPEC.classes), SPEC, folder)
    return folder


@pytest.fixture(scope="module")
def bundle(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    export_bundle(weights, folder)
    return folder


@pytest.mark.network
def test_monai_runs_it_and_agrees(weights: Path, bundle: Path, tmp_path: Path) -> None:
    """On an oblique CT; a network that learnt nothing draws the hardest mask to agree on.

    Of the body only: such a network finds liver in air, where ours does not look.
    """
    whole = oriented(small_abdomen(), "oblique").volume
    box = (slice(4, 20), slice(20, 50), slice(22, 68))
    ct = Volume(whole.hu[box], whole.grid.cropped(box))
    (tmp_path / "data").mkdir()
    write_nifti(tmp_path / "data" / "one.nii.gz", ct.hu.astype(np.int16), ct.grid)
    run_bundle(bundle, tmp_path / "data", tmp_path / "out")
    theirs, grid = read_nifti(tmp_path / "out" / "one_liver.nii.gz")

    np.testing.assert_allclose(grid.affine, ct.grid.affine, atol=1e-4)
    network, spec = load_model(weights, torch.device("cpu"))
    image, image_grid = to_model_input(ct, spec.spacing_mm, spec.window_hu)
    probability = liver_probability(network, image, spec.patch)
    z, y, x = (slice(0, n) for n in image_grid.shape)
    mask = largest_object(is_liver(probability.numpy()))
    ours = outline(Found(image, image_grid, probability, (z, y, x), mask), ct, Stages())
    assert isinstance(ours, Liver)
    assert 0.01 < ours.mask_on_ct().mean() < 0.9
    assert dice(ours.mask_on_ct(), theirs > 0) >= 0.995


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return abdomen((50, 90, 118), (6.0, 3.6, 3.3))


def transformed(volume: Volume, by: Segmenter, folder: Path) -> Mask:
    """What the bundle's own steps make of a CT, around a sliding window over all of it."""
    write_nifti(folder / "one.nii", volume.hu.astype(np.int16), volume.grid)
    item = ReadCt(by.fine.spec.spacing_mm, by.fine.spec.window_hu)(
        {"image": str(folder / "one.nii")}
    )
    liver = liver_probability(by.fine.network, item["image"][0], by.fine.spec.patch)
    WriteLiver(str(folder / "out"))({**item, "pred": torch.stack([1 - liver, liver])})
    return read_nifti(folder / "out" / "one_liver.nii.gz")[0] > 0


def test_its_steps_find_the_liver_that_the_product_finds(phantom: Phantom, tmp_path: Path) -> None:
    by = segmenter_by_hu()
    liver = by.segment(phantom.volume, Stages())
    assert isinstance(liver, Liver)
    assert dice(transformed(phantom.volume, by, tmp_path), liver.mask_on_ct()) > 0.995


@pytest.mark.parametrize(
    ("shown", "hu"), [("brain", 40), ("small", 105), ("dark", -90), ("closed skull", 40)]
)
def test_its_steps_refuse_what_the_product_refuses(
    shown: str, hu: int, phantom: Phantom, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    volume = {
        "brain": opened_head(),
        "closed skull": head(),
        "small": block(phantom, np.s_[19:28, 36:62, 46:70], hu)[0],
        "dark": block(phantom, np.s_[14:34, 30:60, 40:80], hu)[0],
    }[shown]
    by = segmenter_by_hu(hu - 25, hu + 20)
    product = by.segment(volume, Stages())
    assert isinstance(product, NoLiver)
    assert not transformed(volume, by, tmp_path).any()
    if shown != "closed skull":  # its rest is too little for coarse localisation
        assert product.reason in caplog.text


def run_bundle(bundle: Path, data: Path, out: Path) -> None:
    """Without our package on the path: the bundle carries what it needs."""
    command = [sys.executable, "-m", "monai.bundle", "run"]
    options = {
        "config_file": "configs/inference.json",
        "dataset_dir": str(data),
        "output_dir": str(out),
    }
    for name, value in options.items():
        command += [f"--{name}", value]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["OMP_NUM_THREADS"] = "1"
    ran = subprocess.run(
        command, cwd=bundle, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-2000:]


@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("name", ["models/model.pt", "configs/inference.json"])
def test_a_full_disk_is_told_with_the_file_that_met_it(
    weights: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / f"{name}.part").symlink_to(FULL)
    with pytest.raises(OSError, match="No space left") as full:
        export_bundle(weights, tmp_path)
    assert full.value.filename == str(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_the_metadata_hold_what_monai_asks_for(bundle: Path) -> None:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    properties: Any = MetaProperties
    for name, wanted in properties.items():
        if wanted["required"]:
            value = metadata
            for key in wanted["id"].removeprefix("_meta_::").split("::"):
                assert key in value, f"metadata.json lacks {name}"
                value = value[key]
    assert metadata["copyright"] == "research use"
    assert metadata["network_data_format"]["outputs"]["pred"]["num_channels"] == 3


def test_monai_finds_the_parts_of_an_inference_workflow(bundle: Path) -> None:
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.json"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        workflow_type="infer",
        logging_file=False,
    )
    workflow.initialize()
    assert not workflow.check_properties()


def test_the_network_is_ours(weights: Path, bundle: Path) -> None:
    state = torch.load(bundle / "models" / "model.pt", weights_only=True)
    network, _ = load_model(weights, torch.device("cpu"))
    assert state.keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(state[name], tensor)
