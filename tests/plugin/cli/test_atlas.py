"""orthanc-liver atlas: from case folders to a mask on a DICOM CT, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from liver_unet.nifti import read_nifti
from orthanc_liver.cli.exit_status import REFUSED
from orthanc_liver.cli.main import main
from orthanc_liver.dicom.ct_folder import read_ct
from tests.support.case_writer import write_ct_folder, write_nifti_case
from tests.support.phantom import oriented, small_abdomen


@pytest.mark.network
def test_a_library_outlines_a_dicom_series(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_nifti_case(tmp_path / "data" / "one", small_abdomen(seed=1))
    library, mask = tmp_path / "library", tmp_path / "liver.nii.gz"
    assert main(["atlas", "build", "--data", str(tmp_path / "data"), "--out", str(library)]) == 0
    assert capsys.readouterr().out == "1 atlases\n"
    phantom = oriented(small_abdomen(seed=2), "HFP")
    write_ct_folder(tmp_path / "ct", phantom, "atlas")
    where = ["--library", str(library), "--out", str(mask)]
    assert main(["atlas", "segment", str(tmp_path / "ct"), *where]) == 0
    found, grid = read_nifti(mask)
    np.testing.assert_allclose(grid.affine, read_ct(tmp_path / "ct").volume.grid.affine, atol=1e-3)
    true_ml = phantom.liver.sum() * phantom.volume.grid.voxel_ml
    assert (found > 0).sum() * grid.voxel_ml == pytest.approx(true_ml, rel=0.1)


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ct_folder(tmp_path / "ct", small_abdomen(), "no library")
    where = ["--library", str(tmp_path), "--out", str(tmp_path / "liver.nii.gz")]
    assert main(["atlas", "segment", str(tmp_path / "ct"), *where]) == REFUSED
    assert "holds no atlas: make it with orthanc-liver atlas build" in capsys.readouterr().err
    build = ["atlas", "build", "--data", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert main(build) == REFUSED


@pytest.mark.network  # imports as much, twice
@pytest.mark.parametrize(
    ("library", "command"),
    [
        ("SimpleITK", ["atlas", "leave-one-out", "--data=a", "--library=b", "--out=c"]),
        ("jinja2", ["evaluate", "--cases=a", "--out=b"]),
    ],
)
def test_without_the_extra_the_command_says_what_to_install(
    library: str, command: list[str]
) -> None:
    program = (
        f"import sys; sys.modules[{library!r}] = None; "
        f"from orthanc_liver.cli.main import main; sys.exit(main({command!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == REFUSED
    assert f"{library} is not installed: in the checkout run" in done.stderr
    assert " --editable '.[evaluation]'" in done.stderr
    assert ".whl[evaluation]'" in done.stderr
