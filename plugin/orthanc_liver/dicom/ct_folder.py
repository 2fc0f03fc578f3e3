"""A CT from disk: a folder, a study's folder, a zip file of either, or a NIfTI file.

What a file is, its content says, never its name.
"""

from __future__ import annotations

import os
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom
from pydicom.config import disable_value_validation
from pydicom.uid import CTImageStorage, MediaStorageDirectoryStorage

from liver_unet.ct_nifti import MINIMUM_SLICES, read_ct_nifti
from liver_unet.model_errors import VolumeRefused
from orthanc_liver.dicom.ct_series import CtSeries, doubts_about, read_ct_series
from orthanc_liver.dicom.part10 import START_BYTES, completed, is_marked, starts_as_dicom
from orthanc_liver.liver_errors import SeriesRefused

# Of a zip file, unpacked: no CT comes near these.
_MOST_MEMBERS, _MOST_BYTES, _LARGEST = 100_000, 32 << 30, 1 << 30
_TAGS = ["SOPClassUID", "Modality", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID"]

# Both are read in the same way; the second is a file within a zip file.
AnyPath = Path | zipfile.Path


@dataclass(frozen=True)
class DicomFile:
    """What a file's header says it is. frame: of reference; patient: the PatientID."""

    path: AnyPath
    sop_class_uid: str
    modality: str
    series_uid: str
    frame: str
    patient: str

    @property
    def is_ct(self) -> bool:
        return self.modality == "CT" or self.sop_class_uid == CTImageStorage

    def read(self) -> bytes:
        """The whole file, with preamble and meta header even where it has none."""
        with _refusing_unreadable(self.path):
            return completed(self.path.read_bytes())


@dataclass(frozen=True)
class CtFiles:
    """The files of one CT series. notes: what else lay there, in sentences for the report."""

    files: Sequence[DicomFile]
    notes: tuple[str, ...]

    def read(self) -> Iterator[bytes]:
        """One after the other, so that no more than one need be held."""
        return (file.read() for file in self.files)


def read_ct(path: Path, series_uid: str = "", min_slices: int = MINIMUM_SLICES) -> CtSeries:
    """Return the CT; one from NIfTI has neither instances nor header. For the rest see find_ct."""
    found = find_ct(path, series_uid, min_slices)
    if found is not None:
        series = read_ct_series(found.read(), min_slices=min_slices)
        return replace(series, warnings=found.notes + series.warnings + doubts_about(series))
    try:
        volume, notes = read_ct_nifti(path, min_slices)
    except VolumeRefused as refusal:
        raise SeriesRefused(str(refusal)) from refusal
    return CtSeries(volume, (), pydicom.Dataset(), tuple(notes))


def find_ct(path: Path, series_uid: str = "", min_slices: int = MINIMUM_SLICES) -> CtFiles | None:
    """Return the one CT series of a folder or a zip file, or None for any other file.

    series_uid: which, where there are several; else the only one of at least min_slices images.
    Raises SeriesRefused.
    """
    if not path.exists():
        raise SeriesRefused(
            f"{path} does not exist: name a DICOM folder, a zip file of one or a NIfTI file"
        )
    if path.is_dir() or _start(path).startswith(b"PK\3\4"):
        files, notes = dicom_files(path)
        return _only_series(path, files, notes, series_uid, min_slices)
    if starts_as_dicom(_start(path)):
        raise SeriesRefused(
            f"{path} is one DICOM file, which is no volume (multi-frame images are not supported "
            "yet): name the folder of its series"
        )
    if series_uid:
        raise SeriesRefused(f"{path} is no DICOM, so there is no series in it to choose")
    return None


def series_in(path: Path, min_slices: int = MINIMUM_SLICES) -> list[str]:
    """The CT series of a folder or a zip file that could show a liver, by UID; none of NIfTI.

    Raises SeriesRefused.
    """
    if not path.is_dir() and not _start(path).startswith(b"PK\3\4"):
        return []
    images = _images_by_series(dicom_files(path)[0])
    return [uid for uid, found in images.items() if len(found) >= min_slices]


def dicom_files(path: Path) -> tuple[list[DicomFile], tuple[str, ...]]:
    """Return the DICOM files in a folder or a zip file, without DICOMDIRs, and a note on others.

    Raises SeriesRefused where one is damaged, so that none is missed without a word.
    """
    paths: Sequence[AnyPath] = files_below(path) if path.is_dir() else _members(path)
    found: list[DicomFile] = []
    damaged: list[AnyPath] = []
    others = 0
    # pydicom's warnings quote values, and values may be the patient's.
    with disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in paths:
            start = _start(one)
            header = _header(one) if starts_as_dicom(start) else None
            if header and header.sop_class_uid == MediaStorageDirectoryStorage:
                continue
            if header and header.sop_class_uid and (header.series_uid or not header.is_ct):
                found.append(header)
            elif is_marked(start):
                damaged.append(one)
            else:
                others += 1
    if damaged:
        raise SeriesRefused(
            f"{damaged[0]} is damaged, one of {len(damaged)} such DICOM files: copy them again, or "
            "take away what does not belong to the CT"
        )
    note = f"Not read: files that are not DICOM ({others} of {len(paths)})."
    return found, (note,) if others else ()


def files_below(folder: Path) -> list[Path]:
    """Every file, and every link that leads nowhere. Links to folders are followed, each once."""
    seen: set[Path] = set()
    found: list[Path] = []
    with _refusing_unreadable(folder):
        for here, folders, names in os.walk(folder, onerror=_raised, followlinks=True):
            real = Path(here).resolve()
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            found += [Path(here, name) for name in names]
    return sorted(found)


def _raised(error: OSError) -> None:
    raise error


def _members(path: Path) -> list[zipfile.Path]:
    with _refusing_unreadable(path):
        archive = zipfile.ZipFile(path)
    members = [one for one in archive.infolist() if not one.is_dir()]
    sizes = [one.file_size for one in members]
    if len(sizes) > _MOST_MEMBERS or sum(sizes) > _MOST_BYTES or max(sizes, default=0) > _LARGEST:
        raise SeriesRefused(
            f"{path} would unpack to {len(sizes)} files of {sum(sizes) / 2**30:.3g} GiB, more than "
            "any CT: unpack it and name the folder of the series"
        )
    if len({one.filename for one in members}) < len(members):
        raise SeriesRefused(f"{path} holds two files of one name: pack the series again")
    return [zipfile.Path(archive, one.filename) for one in members]


def _start(path: AnyPath) -> bytes:
    """The first bytes; none of what is no file, as a link that leads nowhere."""
    with _refusing_unreadable(path):
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(START_BYTES)


def _header(path: AnyPath) -> DicomFile | None:
    """None where the file cannot be read as DICOM."""
    with _refusing_unreadable(path), path.open("rb") as file:
        try:
            dataset = pydicom.dcmread(
                file, force=True, stop_before_pixels=True, specific_tags=_TAGS
            )
            of_medium = dataset.file_meta.get("MediaStorageSOPClassUID")
            texts = [str(dataset.get(tag) or "") for tag in _TAGS]
        # Files can be damaged in more ways than pydicom has errors for.
        except Exception:  # noqa: BLE001
            return None
    if of_medium == MediaStorageDirectoryStorage:
        texts[0] = of_medium
    return DicomFile(path, *texts)


@contextmanager
def _refusing_unreadable(path: AnyPath) -> Iterator[None]:
    try:
        yield
    # RuntimeError: a zip file's password, or a compression that Python does not know.
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise SeriesRefused(f"{path} cannot be read ({type(error).__name__})") from error


def _only_series(
    path: Path,
    files: Sequence[DicomFile],
    notes: tuple[str, ...],
    series_uid: str,
    min_slices: int,
) -> CtFiles:
    series = _images_by_series(files)
    if not series:
        what = "CT image among its DICOM files" if files else "DICOM file"
        raise SeriesRefused(f"{path} holds no {what}: name the folder of one CT series")
    enough = [uid for uid, images in series.items() if len(images) >= min_slices]
    chosen = [series_uid] if series_uid else enough if len(series) > 1 else list(series)
    if len(chosen) != 1 or chosen[0] not in series:
        listed = "; ".join(
            f"{uid} with {len(images)} images in {images[0].path.parent}"
            for uid, images in series.items()
        )
        raise SeriesRefused(
            f"{path} holds these CT series: {listed}; choose one by its SeriesInstanceUID "
            "(--series, in a list of cases the column series), or name its folder"
        )
    left_out = (
        f"Left out: CT series {uid} ({len(images)} images)."
        for uid, images in series.items()
        if uid != chosen[0] and not series_uid
    )
    return CtFiles(series[chosen[0]], (*notes, *left_out))


def _images_by_series(files: Sequence[DicomFile]) -> dict[str, list[DicomFile]]:
    series: dict[str, list[DicomFile]] = {}
    for one in files:
        if one.is_ct:
            series.setdefault(one.series_uid, []).append(one)
    return series
