"""A CT in a NIfTI file is read as what its header says, or refused by the file's name."""

from __future__ import annotations

import gzip
import zlib
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from liver_unet.ct_nifti import read_ct_nifti
from liver_unet.model_errors import VolumeRefused
from liver_unet.nifti import write_nifti
from liver_unet.volume import Grid
from tests.support.phantom import small_abdomen

PATIENT = small_abdomen().volume


def written(
    path: Path,
    hu: NDArray[np.float32] | NDArray[np.int16] = PATIENT.hu,
    sform: NDArray[np.float64] | None = None,
    qform: NDArray[np.float64] | None = None,
    unit: int = 2,
    sizes: tuple[float, float, float] | None = None,
) -> Path:
    """Write the patient with these forms (RAS, None: not set) and this unit."""
    image = nib.Nifti1Image(hu.transpose(2, 1, 0), None)
    image.set_sform(sform, code=0 if sform is None else 1)
    image.set_qform(qform, code=0 if qform is None else 1)
    image.header["xyzt_units"] = unit
    if sizes:
        image.header["pixdim"][1:4] = sizes
    nib.save(image, path)
    return path


def ras(scale: float = 1.0) -> NDArray[np.float64]:
    """The patient's affine as NIfTI has it: (column, row, slice) to RAS."""
    affine = np.diag([-1.0, -1, 1, 1]) @ PATIENT.grid.affine @ np.eye(4)[[2, 1, 0, 3]]
    affine[:3] *= scale
    return np.asarray(affine)


def refusal_of(path: Path) -> str:
    with pytest.raises(VolumeRefused) as refusal:
        read_ct_nifti(path)
    assert str(path) in str(refusal.value)
    return str(refusal.value)


class TestHeader:
    @pytest.mark.parametrize(("unit", "scale"), [(0, 1), (2, 1), (1, 0.001), (3, 1000), (10, 1)])
    def test_units_are_converted(self, tmp_path: Path, unit: int, scale: float) -> None:
        """10 is mm and seconds."""
        volume, warnings = read_ct_nifti(written(tmp_path / "ct.nii", sform=ras(scale), unit=unit))
        np.testing.assert_allclose(volume.grid.affine, PATIENT.grid.affine, atol=1e-3)
        assert warnings == []

    @pytest.mark.parametrize(("unit", "scale"), [(1, 1), (3, 1), (2, 0.001), (2, 1000), (5, 1)])
    def test_units_that_no_scanner_has(self, tmp_path: Path, unit: int, scale: float) -> None:
        path = written(tmp_path / "ct.nii", sform=ras(scale), unit=unit)
        assert "its voxels would measure" in refusal_of(path)

    def test_a_voxel_size_that_is_no_number(self, tmp_path: Path) -> None:
        sform = ras() @ np.diag([1.3, 1.3, 1.3, 1])
        path = written(tmp_path / "ct.nii", sform=sform, sizes=(np.nan, 4.6, 12.5))
        assert "contradict each other" in refusal_of(path)

    @pytest.mark.parametrize("kind", ["colours", "complex"])
    def test_voxels_that_are_no_numbers_of_a_ct(self, tmp_path: Path, kind: str) -> None:
        """The one ended as a fault of ours, of the other half the values were left out."""
        values = PATIENT.hu.transpose(2, 1, 0)
        rgb = np.zeros(values.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
        array = rgb if kind == "colours" else (values + 500j).astype(np.complex64)
        nib.save(nib.Nifti1Image(array, ras()), tmp_path / "ct.nii")
        assert "colours or complex numbers" in refusal_of(tmp_path / "ct.nii")

    @pytest.mark.parametrize("factors", [(1.2, 1.2, 1.2), (0.81, 0.81, 0.81), (1, 1, 1.1)])
    def test_sizes_of_which_the_header_says_two(
        self, tmp_path: Path, factors: tuple[float, ...]
    ) -> None:
        """1.2 times along each axis were 2984 mL of 1727; slices 1.1 times as far apart, 1900."""
        path = written(tmp_path / "ct.nii", sform=ras() @ np.diag([*factors, 1]), qform=ras())
        assert "contradict each other" in refusal_of(path)

    def test_sizes_that_the_sform_contradicts_alone(self, tmp_path: Path) -> None:
        """Three ones are what stands there where nobody wrote any."""
        ones, right, wrong = (
            written(tmp_path / f"{number}.nii", sform=ras(), sizes=sizes)
            for number, sizes in enumerate([(1, 1, 1), (4.2, 4.6, 12.5), (4.2, 4.6, 25)])
        )
        assert read_ct_nifti(ones)[1] == read_ct_nifti(right)[1] == []
        assert "contradict each other" in refusal_of(wrong)

    @pytest.mark.parametrize(
        "form",
        [
            np.array([[1.0, 0, 0, 100], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ ras(),
            np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ ras(),
        ],
        ids=["moved", "turned"],
    )
    def test_two_places_are_told(self, tmp_path: Path, form: NDArray[np.float64]) -> None:
        path = written(tmp_path / "ct.nii", sform=ras(), qform=form)
        _, (warning,) = read_ct_nifti(path)
        assert "sform and qform place the image up to" in warning

    def test_forms_that_agree(self, tmp_path: Path) -> None:
        volume, _ = read_ct_nifti(written(tmp_path / "ct.nii", sform=ras(), qform=ras()))
        np.testing.assert_allclose(volume.grid.affine, PATIENT.grid.affine, atol=1e-3)

    def test_a_qform_alone(self, tmp_path: Path) -> None:
        volume, _ = read_ct_nifti(written(tmp_path / "ct.nii", qform=ras()))
        np.testing.assert_allclose(volume.grid.affine, PATIENT.grid.affine, atol=1e-3)

    @pytest.mark.parametrize("degrees", [5, 17, 30])
    def test_a_gantry_tilt_that_the_qform_cannot_hold(self, tmp_path: Path, degrees: int) -> None:
        sheared = ras()
        sheared[1, 2] += sheared[2, 2] * np.tan(np.deg2rad(degrees))
        path = written(tmp_path / "ct.nii", sform=sheared, qform=ras())
        volume, (warning,) = read_ct_nifti(path)
        assert volume.grid.voxel_ml == pytest.approx(PATIENT.grid.voxel_ml, rel=1e-4)
        assert f"lean by {degrees} degrees, as where the gantry was tilted" in warning

    @pytest.mark.parametrize(
        ("of_axis", "along", "what"),
        [(2, 1, "lean by 45 degrees, more than any"), (1, 0, "are not at right angles")],
    )
    def test_a_shear_that_no_scanner_makes(
        self, tmp_path: Path, of_axis: int, along: int, what: str
    ) -> None:
        sheared = ras()
        sheared[along, of_axis] += abs(sheared[of_axis, of_axis])
        assert what in refusal_of(written(tmp_path / "ct.nii", sform=sheared))

    @pytest.mark.parametrize(
        "change",
        [
            np.diag([-1.0, 1, 1, 1]),
            np.diag([1.0, 1, -1, 1]),
            np.diag([1.0, 1, 2, 1]),
            np.array([[0.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        ],
        ids=["mirrored", "upside down", "other spacing", "axes changed"],
    )
    def test_forms_that_contradict_each_other(
        self, tmp_path: Path, change: NDArray[np.float64]
    ) -> None:
        path = written(tmp_path / "ct.nii", sform=change @ ras(), qform=ras())
        assert "contradict each other" in refusal_of(path)

    def test_neither_form(self, tmp_path: Path) -> None:
        assert "neither sform nor qform" in refusal_of(written(tmp_path / "ct.nii"))

    @pytest.mark.parametrize("signs", [(1.0, 1, 1, 1), (-1.0, -1, 1, 1)])
    def test_an_identity_matrix(self, tmp_path: Path, signs: tuple[float, ...]) -> None:
        path = written(tmp_path / "ct.nii", sform=np.diag(signs))
        assert "identity matrix" in refusal_of(path)

    @pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
    @pytest.mark.parametrize("axis", [1, 3])
    def test_a_header_that_counts_fewer_voxels_than_there_are(
        self, tmp_path: Path, name: str, axis: int
    ) -> None:
        """18 slices of 24 would be a sound, shorter scan."""
        path, short = written(tmp_path / "whole.nii", sform=ras()), tmp_path / name
        content = bytearray(path.read_bytes())
        at = 40 + 2 * axis
        counted = int.from_bytes(content[at : at + 2], "little")
        content[at : at + 2] = (counted * 3 // 4).to_bytes(2, "little")
        short.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        assert "bytes longer than its header's number of voxels" in refusal_of(short)

    def test_a_few_bytes_behind_the_voxels_are_read(self, tmp_path: Path) -> None:
        path = written(tmp_path / "ct.nii", sform=ras())
        path.write_bytes(path.read_bytes() + bytes(100))
        assert read_ct_nifti(path)[0].hu.shape == PATIENT.hu.shape

    def test_few_slices(self, tmp_path: Path) -> None:
        path = tmp_path / "ct.nii"
        part = PATIENT.grid.cropped((slice(4, 13), slice(0, 70), slice(0, 92)))
        write_nifti(path, np.asarray(PATIENT.hu[4:13], dtype=np.int16), part)
        assert "9 slices and at least 10" in refusal_of(path)
        assert read_ct_nifti(path, 9)[0].hu.shape[0] == 9


class TestNoNumbers:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_outside_the_body_they_are_air(self, tmp_path: Path, value: float) -> None:
        """One voxel in the air, and all outside a round field of view."""
        hu = PATIENT.hu.astype(np.float32)
        rows, columns = np.ogrid[-1:1:70j, -1:1:92j]
        outside = np.broadcast_to(rows**2 + columns**2 > 1.25, hu.shape).copy()
        outside[12, 1, 40] = True
        hu[outside] = value
        volume, (warning,) = read_ct_nifti(written(tmp_path / "ct.nii", hu, sform=ras()))
        assert warning.startswith(f"{outside.sum()} voxels outside the body are no numbers")
        assert (volume.hu[outside] == -1024).all()
        assert (volume.hu[~outside] == PATIENT.hu[~outside]).all()

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize(
        ("place", "number"),
        [
            pytest.param((12, 35, 30), 13, id="in the liver"),
            pytest.param((20, 35, 25), 21, id="in a lung"),
            pytest.param((slice(0, 3),), 1, id="bottom slices"),
            pytest.param((slice(9, 10), slice(30, 70)), 10, id="half a slice"),
        ],
    )
    def test_within_the_body_they_are_refused_by_slice(
        self, tmp_path: Path, value: float, place: tuple[int | slice, ...], number: int
    ) -> None:
        hu = PATIENT.hu.astype(np.float32)
        hu[place] = value
        path = written(tmp_path / "ct.nii", hu, sform=ras())
        assert f"Slice {number} of 24 holds voxels that are no numbers" in refusal_of(path)

    def test_a_clipped_scan_has_a_body_too(self, tmp_path: Path) -> None:
        hu = np.clip(PATIENT.hu, -200, 300).astype(np.float32)
        hu[5, 0, 0] = np.nan
        _, warnings = read_ct_nifti(written(tmp_path / "ct.nii", hu, sform=ras()))
        assert warnings[0].startswith("1 voxels outside the body")

    def test_nothing_but_no_numbers(self, tmp_path: Path) -> None:
        hu = np.full(PATIENT.hu.shape, np.nan, dtype=np.float32)
        assert "no numbers" in refusal_of(written(tmp_path / "ct.nii", hu, sform=ras()))


class TestCheckSum:
    @given(st.data())
    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    def test_one_bit_flipped(self, tmp_path: Path, data: st.DataObject) -> None:
        """Law: wherever in the packed data or its check sum a bit is flipped, nothing is read, or
        the very same: a few bits of deflate mean nothing."""
        path = tmp_path / "ct.nii.gz"
        if not path.exists():
            write_nifti(path, np.asarray(PATIENT.hu, dtype=np.int16), PATIENT.grid)
        sound = path.read_bytes()
        damaged = bytearray(sound)
        damaged[data.draw(st.integers(20, len(sound) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        with suppress(OSError, EOFError, zlib.error):
            assume(gzip.decompress(damaged) != gzip.decompress(sound))
        copy = tmp_path / "copy.nii.gz"
        copy.write_bytes(damaged)
        assert "cannot be read as a 3D NIfTI image" in refusal_of(copy)

    def test_cut_short(self, tmp_path: Path) -> None:
        path = tmp_path / "ct.nii.gz"
        write_nifti(path, np.asarray(PATIENT.hu, dtype=np.int16), PATIENT.grid)
        path.write_bytes(path.read_bytes()[:-6])
        assert "cannot be read" in refusal_of(path)

    def test_cut_short_and_not_compressed(self, tmp_path: Path) -> None:
        path = tmp_path / "ct.nii"
        write_nifti(path, np.asarray(PATIENT.hu, dtype=np.int16), PATIENT.grid)
        path.write_bytes(path.read_bytes()[:-1000])
        said = refusal_of(path)
        assert "cannot be read" in said
        assert "\n" not in said


def test_a_sound_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii.gz"
    write_nifti(path, np.asarray(PATIENT.hu, dtype=np.int16), PATIENT.grid)
    volume, warnings = read_ct_nifti(path)
    np.testing.assert_array_equal(volume.hu, PATIENT.hu)
    assert warnings == []
    assert isinstance(volume.grid, Grid)
