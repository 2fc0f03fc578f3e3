"""A CT from disk: the same volume however it lies there, or a refusal that says what is there."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from liver_unet.nifti import write_nifti
from liver_unet.volume import Grid, Volume
from orthanc_liver.dicom import ct_folder
from orthanc_liver.dicom.ct_folder import CtFiles, dicom_files, find_ct, read_ct
from orthanc_liver.dicom.ct_series import CtSeries, read_ct_series
from orthanc_liver.liver_errors import SeriesRefused
from tests.support.case_writer import write_ct_folder, write_rtstruct
from tests.support.ct_writer import to_bytes
from tests.support.phantom import Phantom, small_abdomen


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return small_abdomen()


@pytest.fixture
def folder(phantom: Phantom, tmp_path: Path) -> Path:
    """A series of 24 slices."""
    write_ct_folder(tmp_path / "ct", phantom, "disk")
    return tmp_path / "ct"


def check_is(series: CtSeries, phantom: Phantom) -> None:
    volume = series.volume
    np.testing.assert_array_equal(volume.hu, np.clip(np.rint(phantom.volume.hu), -1024, 3071))
    np.testing.assert_allclose(volume.grid.affine, phantom.volume.grid.affine, atol=1e-4)


def refusal(path: Path, series_uid: str = "") -> str:
    with pytest.raises(SeriesRefused) as refused:
        read_ct(path, series_uid)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def found(path: Path, series_uid: str = "") -> CtFiles:
    files = find_ct(path, series_uid)
    assert files is not None
    return files


def without_preamble(file: bytes) -> bytes:
    return file[132:]


def without_meta(file: bytes) -> bytes:
    """The data set alone."""
    return file[file.index(b"\x08\0\x05\0CS") :]


def with_preamble_alone(file: bytes) -> bytes:
    return file[:132] + without_meta(file)


def implicit_data_set(file: bytes) -> bytes:
    dataset = pydicom.dcmread(BytesIO(file))
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    whole = to_bytes(dataset)
    return whole[whole.index(b"\x08\0\x05\0") :]


def big_endian_data_set(file: bytes) -> bytes:
    dataset = pydicom.dcmread(BytesIO(file))
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    buffer = BytesIO()
    pydicom.dcmwrite(
        buffer, pydicom.Dataset(dataset), implicit_vr=False, little_endian=False, overwrite=True
    )
    return buffer.getvalue()


incomplete = pytest.mark.parametrize(
    "cut",
    [
        without_preamble,
        without_meta,
        with_preamble_alone,
        implicit_data_set,
        big_endian_data_set,
    ],
)


@incomplete
def test_files_that_lack_what_comes_first_are_read(
    cut: Callable[[bytes], bytes], folder: Path, phantom: Phantom
) -> None:
    """Every second one, among whole files."""
    for path in sorted(folder.iterdir())[::2]:
        path.write_bytes(cut(path.read_bytes()))
    series = read_ct(folder)
    check_is(series, phantom)
    assert not series.warnings


@incomplete
def test_orthanc_keeps_such_files_and_gives_them_out(
    cut: Callable[[bytes], bytes], folder: Path, phantom: Phantom
) -> None:
    files = [cut(path.read_bytes()) for path in sorted(folder.iterdir())]
    check_is(read_ct_series(files), phantom)


def test_what_is_no_dicom_is_counted(folder: Path, phantom: Phantom) -> None:
    (folder / "README").write_text("not DICOM")
    (folder / "numbers.bin").write_bytes(b"\x08\0\0\0" + bytes(range(200)))
    (folder / "023.dcm").rename(folder / "slice")
    (folder / "away.dcm").symlink_to("nowhere.dcm")
    series = read_ct(folder)
    check_is(series, phantom)
    assert series.warnings == ("Not read: files that are not DICOM (3 of 27).",)


@pytest.mark.parametrize(
    ("keyword", "value", "said"),
    [
        ("Modality", "OT", "is not a CT image (Modality OT"),
        ("SOPClassUID", SecondaryCaptureImageStorage, "Secondary Capture Image Storage"),
        ("SeriesInstanceUID", "", "007.dcm is damaged, one of 1 such"),
        ("SOPClassUID", "", "007.dcm is damaged, one of 1 such"),
    ],
)
def test_no_slice_is_left_out_for_its_header(
    keyword: str, value: str, said: str, folder: Path
) -> None:
    """The rest would be a sound series but for the slice at the end that it lacks."""
    dataset = pydicom.dcmread(folder / "007.dcm")
    setattr(dataset, keyword, value)
    dataset.save_as(folder / "007.dcm")
    assert said in refusal(folder)


def test_what_is_odd_in_the_pixels_is_told(phantom: Phantom, tmp_path: Path) -> None:
    clipped = Volume(np.clip(phantom.volume.hu, -150, 300).astype(np.int16), phantom.volume.grid)
    write_ct_folder(tmp_path / "ct", replace(phantom, volume=clipped), "clipped")
    (warning,) = read_ct(tmp_path / "ct").warnings
    assert "The lowest value is -150 HU" in warning


def test_a_folder_that_may_not_be_looked_into_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "more").mkdir()
    look = os.scandir

    def forbidden(path: str) -> object:
        if str(path).endswith("more"):
            raise PermissionError(13, "Permission denied")
        return look(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    assert refusal(folder).endswith("cannot be read (PermissionError)")


def test_a_dicomdir_is_one_whatever_its_name(folder: Path, phantom: Phantom) -> None:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    index = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    index.FileSetID = "EXPORT"
    index.DirectoryRecordSequence = []
    index.save_as(folder / "index", enforce_file_format=True)
    (folder / "007.dcm").rename(folder / "DICOMDIR")
    series = read_ct(folder)
    check_is(series, phantom)
    assert not series.warnings
    assert len(dicom_files(folder)[0]) == 24


def test_links_to_folders_are_followed_once(folder: Path, phantom: Phantom, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in sorted(folder.iterdir())[10:]:
        path.rename(elsewhere / path.name)
    for name in ("one", "two"):
        (folder / name).symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    series = read_ct(folder)
    check_is(series, phantom)
    assert not series.warnings


def test_a_zip_file_of_a_study(folder: Path, phantom: Phantom, tmp_path: Path) -> None:
    check_is(read_ct(zipped(tmp_path / "export", folder)), phantom)


def zipped(path: Path, folder: Path) -> Path:
    """The folder in a zip file, whose name need not say so."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.rglob("*"):
            archive.write(file, Path("study", "series 1", file.relative_to(folder)))
    return path


def test_zip_files_that_cannot_be_trusted(folder: Path, tmp_path: Path) -> None:
    path = zipped(tmp_path / "ct.zip", folder)
    content = path.read_bytes()
    first = content.index(b"PK\1\2")
    for changed, said in (
        (content[:-100], "cannot be read (BadZipFile)"),
        # the size of the first file unpacked, in the directory at the end
        (content[: first + 24] + b"\xff\xff\xff\x7f" + content[first + 28 :], "files of 2"),
        # the bit that says that a password is needed
        (content[: first + 8] + b"\1" + content[first + 9 :], "cannot be read (RuntimeError)"),
        # amid the compressed pixels of one file
        (content[: first // 2] + b"wrong" + content[first // 2 + 5 :], "cannot be read"),
    ):
        path.write_bytes(changed)
        assert said in refusal(path)
        assert str(path) in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("study/", b"")
    assert "holds no DICOM file" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one", b"")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("one", b"")
    assert "two files of one name" in refusal(path)


@pytest.mark.parametrize(
    ("name", "most", "is_refused"),
    [
        ("_MOST_MEMBERS", 23, True),
        ("_MOST_MEMBERS", 24, False),
        ("_MOST_BYTES", 24 * 10_000, True),
        ("_LARGEST", 10_000, True),
    ],
)
def test_a_zip_file_larger_than_any_ct_is_not_unpacked(
    name: str,
    most: int,
    is_refused: bool,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each file has 14 kB."""
    path = zipped(tmp_path / "ct.zip", folder)
    monkeypatch.setattr(ct_folder, name, most)
    if is_refused:
        assert "would unpack to 24 files of 0.000" in refusal(path)
    else:
        assert len(found(path).files) == 24


def test_a_study_of_several_series(phantom: Phantom, tmp_path: Path) -> None:
    study = tmp_path / "study"
    uids = [
        write_ct_folder(study / name, phantom, name)[0].SeriesInstanceUID
        for name in ("arterial", "venous")
    ]
    said = refusal(study)
    for uid, name in zip(uids, ("arterial", "venous"), strict=True):
        assert f"{uid} with 24 images in {study / name}" in said
        assert {file.path.parent for file in found(study, uid).files} == {study / name}
        assert not found(study, uid).notes
    assert "--series" in said
    assert "holds these CT series" in refusal(study, "1.2.3")
    packed = zipped(tmp_path / "study.zip", study)
    assert "24 images in" in refusal(packed)
    check_is(read_ct(packed, uids[1]), phantom)


def test_a_scouts_series_is_left_out_and_named(
    folder: Path, phantom: Phantom, tmp_path: Path
) -> None:
    scouts = write_ct_folder(tmp_path / "scouts", phantom, "scouts")
    for number in (5, 6):
        shutil.copy(tmp_path / "scouts" / f"{number:03}.dcm", folder / f"scout {number}")
    series = read_ct(folder)
    check_is(series, phantom)
    assert series.warnings == (f"Left out: CT series {scouts[0].SeriesInstanceUID} (2 images).",)
    assert find_ct(folder, min_slices=24)
    assert find_ct(tmp_path / "scouts", min_slices=25)
    with pytest.raises(SeriesRefused, match="holds these CT series"):
        find_ct(folder, min_slices=25)


def test_an_outline_beside_its_ct_is_no_slice(phantom: Phantom, tmp_path: Path) -> None:
    """Not even where it bears the CT's own SeriesInstanceUID, as some systems write it."""
    slices = write_ct_folder(tmp_path / "ct", phantom, "beside")
    write_rtstruct(tmp_path / "ct" / "rs.dcm", slices, phantom.liver, "Liver")
    structures = pydicom.dcmread(tmp_path / "ct" / "rs.dcm")
    structures.SeriesInstanceUID = slices[0].SeriesInstanceUID
    structures.save_as(tmp_path / "ct" / "rs.dcm")
    check_is(read_ct(tmp_path / "ct"), phantom)
    for path in (tmp_path / "ct").glob("0*.dcm"):
        path.unlink()
    assert "holds no CT image" in refusal(tmp_path / "ct")


@pytest.mark.parametrize("kept", [140, 400, 700])
def test_a_file_cut_short_is_refused_by_name(kept: int, folder: Path) -> None:
    """The last slice: without it the rest would be a sound, shorter volume."""
    path = folder / "023.dcm"
    path.write_bytes(path.read_bytes()[:kept])
    assert f"{path} is damaged" in refusal(folder)


def test_one_dicom_file_is_no_volume(folder: Path) -> None:
    assert "is one DICOM file" in refusal(folder / "003.dcm")


def test_a_file_that_may_not_be_read_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: Path, *_: object) -> BytesIO:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)
    assert refusal(folder).endswith("000.dcm cannot be read (PermissionError)")


@pytest.mark.parametrize("shape", [(9, 40, 30), (40, 30, 9)])
def test_so_few_slices_are_no_volume_in_nifti_either(
    shape: tuple[int, int, int], tmp_path: Path
) -> None:
    affine = np.diag([6.5, 8.0, 12.0, 1.0])[:, [2, 1, 0, 3]]
    hu = np.random.default_rng(5).integers(-700, 500, shape).astype(np.int16)
    path = tmp_path / "ct.nii.gz"
    write_nifti(path, hu, Grid(shape, affine))
    assert "has 9 slices and at least 10 are needed" in refusal(path)
    assert read_ct(path, min_slices=9).volume.hu.shape == shape
    assert "no series in it" in refusal(path, "1.2.3")
