"""orthanc-liver segment: the files it writes, and its error messages."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch

from liver_unet.nifti import read_nifti, write_nifti
from liver_unet.segmenter import Segmenter
from liver_unet.volume import Grid
from liver_unet.weights import default_weights
from orthanc_liver.cli.exit_status import NO_LIVER, REFUSED
from orthanc_liver.cli.main import main
from orthanc_liver.evaluation import run as evaluation_run
from orthanc_liver.evaluation.run import Network
from tests.support.ct_writer import to_bytes, write_ct_series, write_files
from tests.support.judges import even_odd_mask
from tests.support.phantom import Phantom, abdomen, oriented
from tests.support.threshold_engine import (
    TroubledSegmenter,
    on_cpu,
    on_troubled_gpu,
    with_liver,
)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    """A tilted gantry: a grid that only NIfTI's sform can hold."""
    return oriented(abdomen((44, 130, 170), (6.5, 2.5, 2.3)), "tilted")


@pytest.fixture(scope="module")
def instances(phantom: Phantom) -> list[pydicom.FileDataset]:
    return write_ct_series(phantom.volume)


@pytest.fixture(scope="module")
def result(instances: list[pydicom.FileDataset], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of one run on the DICOM series, which has another file beside it."""
    series = tmp_path_factory.mktemp("series")
    for number, instance in enumerate(instances):
        (series / f"{number:03}").write_bytes(to_bytes(instance))
    (series / "README").write_text("not DICOM")
    out = tmp_path_factory.mktemp("out") / "new"
    assert main(["segment", str(series), "--out", str(out), "--device", "cpu"]) == 0
    return out


def test_the_mask_lies_on_the_cts_own_grid(result: Path, phantom: Phantom) -> None:
    image = nibabel.Nifti1Image.from_filename(result / "liver.nii.gz")
    assert image.get_sform(coded=True)[1] == 1
    mask, grid = read_nifti(result / "liver.nii.gz")
    assert grid.shape == phantom.volume.grid.shape
    np.testing.assert_allclose(grid.affine, phantom.volume.grid.affine, atol=1e-3)
    found = mask > 0
    dsc = 2 * (found & phantom.liver).sum() / (found.sum() + phantom.liver.sum())
    assert dsc > 0.75  # a check that nothing is swapped; accuracy is measured on patients


def test_mask_rtstruct_and_report_say_the_same(
    result: Path, instances: list[pydicom.FileDataset]
) -> None:
    mask, grid = read_nifti(result / "liver.nii.gz")
    rtstruct = pydicom.dcmread(result / "rtstruct.dcm")
    np.testing.assert_array_equal(even_odd_mask(rtstruct, instances), mask > 0)
    report = json.loads((result / "report.json").read_text())
    first, *others = report["warnings"]
    assert first == "Not read: files that are not DICOM (1 of 45)."
    lean, *others = others
    assert lean.startswith("The slices' positions lean by 17 degrees")
    # Networks that learnt from patients may not be sure of a drawn one.
    assert (report["grade"] == "sure") == (not others)
    assert report["coarse_model"]["name"] == "liver-unet coarse"
    assert report["liver_ml"] == pytest.approx((mask > 0).sum() * grid.voxel_ml, abs=0.01)
    spec = Segmenter.load(default_weights(), "cpu").fine.spec
    assert report["model"] == {"name": spec.name, "sha256": spec.sha256}
    assert report["device"] == "cpu"
    assert {"read", "infer", "contour", "write"} <= report["seconds"].keys()
    assert (result / "overlay.png").read_bytes().startswith(b"\x89PNG")


def test_nifti_comes_to_the_same_liver(result: Path, phantom: Phantom, tmp_path: Path) -> None:
    ct = tmp_path / "ct.nii.gz"
    write_nifti(ct, phantom.volume.hu.astype(np.int16), phantom.volume.grid)
    assert main(["segment", str(ct), "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    from_dicom, _ = read_nifti(result / "liver.nii.gz")
    from_nifti, _ = read_nifti(tmp_path / "out" / "liver.nii.gz")
    both = 2 * ((from_dicom > 0) & (from_nifti > 0)).sum()
    assert both / ((from_dicom > 0).sum() + (from_nifti > 0).sum()) > 0.999
    assert not (tmp_path / "out" / "rtstruct.dcm").exists()


def test_a_gpu_without_room_leaves_nifti_to_the_cpu_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = on_troubled_gpu()
    monkeypatch.setattr(TroubledSegmenter, "trouble", "out of memory")
    monkeypatch.setattr(Segmenter, "load", lambda *_: full)
    volume = with_liver()
    write_nifti(tmp_path / "ct.nii", volume.hu.astype(np.int16), volume.grid)
    assert main(["segment", str(tmp_path / "ct.nii"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "computed on the CPU" in said.err
    assert float(said.out.split()[1]) == pytest.approx(800, abs=50)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["device"] == "cpu"


def test_a_gpu_that_is_full_from_the_start_leaves_all_to_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(weights: Path, device: str) -> Segmenter:
        if device == "cpu":
            return on_cpu()
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(Segmenter, "load", load)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    volume = with_liver()
    write_nifti(tmp_path / "ct.nii", volume.hu.astype(np.int16), volume.grid)
    assert main(["segment", str(tmp_path / "ct.nii"), "--out", str(tmp_path / "out")]) == 0
    warning = "the network runs on the cpu, as the GPU failed (OutOfMemoryError)"
    assert f"warning: {warning}\n" in capsys.readouterr().err
    monkeypatch.setattr(evaluation_run, "_segmenters", [])
    evaluation_run._begin(Network(tmp_path, "auto"), torch.get_num_threads())
    assert f"warning: {warning}\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "does not exist"),
        ({}, "holds no DICOM file"),
        ({"a.txt": b"text"}, "holds no DICOM file"),
        (b"PK\3\4 no zip file", "cannot be read"),
        (b"not an image", "cannot be read as a 3D NIfTI image"),
    ],
)
def test_what_is_refused_is_told_in_one_sentence(
    content: dict[str, bytes] | bytes | None,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = tmp_path / "input.nii.gz"
    if isinstance(content, bytes):
        given.write_bytes(content)
    elif content is not None:
        given.mkdir()
        for name, text in content.items():
            (given / name).write_bytes(text)
    assert main(["segment", str(given), "--out", str(tmp_path / "out")]) == REFUSED
    said = capsys.readouterr().err.strip()
    assert sentence in said
    assert "\n" not in said


def test_a_missing_slice_is_refused(
    instances: list[pydicom.FileDataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path, instances[:17] + instances[18:])
    assert main(["segment", str(tmp_path), "--out", str(tmp_path / "out")]) == REFUSED
    assert "A slice is missing" in capsys.readouterr().err
    assert not (tmp_path / "out" / "rtstruct.dcm").exists()


def test_four_dimensions_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "perfusion.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((5, 6, 7, 3), dtype=np.int16), np.eye(4)), path)
    assert main(["segment", str(path), "--out", str(tmp_path / "out")]) == REFUSED
    assert "3D" in capsys.readouterr().err


def test_without_a_liver_it_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ct, out = tmp_path / "ct.nii.gz", tmp_path / "out"
    fat = np.full((14, 40, 50), -1000, dtype=np.int16)
    fat[:, 8:30, 12:41] = np.random.default_rng(3).normal(-100, 12, (14, 22, 29))
    write_nifti(ct, fat, Grid(fat.shape, np.diag([5.0, 4.0, 4.5, 1.0])[[2, 1, 0, 3]]))
    assert main(["segment", str(ct), "--out", str(out), "--device", "cpu"]) == NO_LIVER
    assert capsys.readouterr().out == "no liver found: nothing that could be one was seen\n"
    assert json.loads((out / "report.json").read_text())["no_liver"]["seen_ml"] < 1
    assert not (out / "liver.nii.gz").exists()
