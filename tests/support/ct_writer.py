"""Write a CT volume as a DICOM series, one complete CT image per slice."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import DSfloat

from liver_unet.volume import Grid, Volume

PixelFormat = Literal["12-bit unsigned", "16-bit signed"]
_RESCALE_INTERCEPT_HU = -1024
_STORED_RANGE = {"12-bit unsigned": (0, 4095), "16-bit signed": (-32768, 32767)}
# Of series that were written before, by all that makes them: most tests ask for one of a few, and
# pydicom looks at every value that is set.
_WRITTEN: dict[bytes, bytes] = {}
_MOST_VOXELS = 200_000
# Of slices that were written before, too: a test changes one of many.
_FILES: dict[bytes, bytes] = {}
_MOST_FILES, _MOST_BYTES = 600, 30_000


def write_ct_series(
    volume: Volume,
    *,
    patient_name: str = "Phantom^Abdomen",
    patient_position: str = "HFS",
    pixel_format: PixelFormat = "12-bit unsigned",
    transfer_syntax: str = ExplicitVRLittleEndian,
    uid_seed: str = "phantom",
) -> list[FileDataset]:
    """Return the slices in volume order, with UIDs that depend on uid_seed alone.

    The grid's slice axis may be oblique, reversed or sheared; its rows must be square to its
    columns (ValueError). HU beyond the pixel format's range are clipped.
    transfer_syntax: any that pydicom itself can write, compressed ones included.
    """
    if abs(_unit(volume.grid, 1) @ _unit(volume.grid, 2)) > 1e-5:
        raise ValueError("DICOM cannot hold an image whose rows are not square to its columns")
    how = (patient_name, patient_position, pixel_format, str(transfer_syntax), uid_seed)
    if volume.hu.size > _MOST_VOXELS:
        return _written(volume, *how)
    asked = pickle.dumps((volume.hu, volume.grid.affine, how))
    if asked not in _WRITTEN:
        _WRITTEN[asked] = pickle.dumps(_written(volume, *how))
    return list(pickle.loads(_WRITTEN[asked]))  # noqa: S301 our own


def _written(
    volume: Volume,
    patient_name: str,
    patient_position: str,
    pixel_format: PixelFormat,
    transfer_syntax: str,
    uid_seed: str,
) -> list[FileDataset]:
    low, high = _STORED_RANGE[pixel_format]
    slices = []
    for index, hu in enumerate(volume.hu):
        dataset = _empty_file(uid_seed, index)
        _add_patient_and_study(dataset, patient_name, uid_seed)
        _add_series(dataset, patient_position, uid_seed)
        _add_plane(dataset, volume.grid, index)
        stored = np.clip(np.rint(hu) - _RESCALE_INTERCEPT_HU, low, high)
        _add_pixels(dataset, stored, pixel_format)
        _encode(dataset, transfer_syntax)
        slices.append(dataset)
    return slices


def to_bytes(dataset: pydicom.Dataset) -> bytes:
    """Return the DICOM file, preamble and all."""
    asked = pickle.dumps(dataset)
    if asked in _FILES:
        return _FILES[asked]
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    if len(asked) <= _MOST_BYTES:
        _FILES[asked] = buffer.getvalue()
        if len(_FILES) > _MOST_FILES:
            _FILES.pop(next(iter(_FILES)))
    return buffer.getvalue()


def write_files(folder: Path, datasets: Iterable[pydicom.Dataset]) -> None:
    """Write each as a file of its own, named in order; makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(datasets):
        (folder / f"{number:03}.dcm").write_bytes(to_bytes(one))


def as_another_patient(instances: Iterable[FileDataset], patient_id: str) -> Iterator[FileDataset]:
    """Copies under other UIDs, a study of their own; a deep copy shares the bytes of the pixels."""
    study, series, frame = (generate_uid() for _ in range(3))
    for instance in instances:
        one = deepcopy(instance)
        one.PatientID = one.PatientName = patient_id
        one.StudyInstanceUID, one.SeriesInstanceUID = study, series
        one.FrameOfReferenceUID = frame
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        yield one


def _uid(*parts: str) -> UID:
    return generate_uid(entropy_srcs=["orthanc-liver ct_writer", *parts])


def _unit(grid: Grid, axis: int) -> NDArray[np.float64]:
    return np.asarray(grid.affine[:3, axis] / grid.spacing_mm[axis])


def _ds(values: NDArray[np.float64]) -> list[DSfloat]:
    """Numbers rounded so that no minus zero is left, and cut to DICOM's 16 bytes."""
    return [DSfloat(round(float(v), 12) + 0.0, auto_format=True) for v in values]


def _empty_file(uid_seed: str, index: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = _uid(uid_seed, "instance", str(index))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _uid("implementation")
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.InstanceNumber = index + 1
    return dataset


def _add_patient_and_study(dataset: FileDataset, patient_name: str, uid_seed: str) -> None:
    dataset.PatientName = patient_name
    dataset.PatientID = "PHANTOM-1"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.StudyInstanceUID = _uid(uid_seed, "study")
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = (
        "20250103"
    )
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = (
        "101500"
    )
    dataset.StudyID = "1"
    dataset.StudyDescription = "Phantom"
    dataset.AccessionNumber = ""
    dataset.ReferringPhysicianName = ""


def _add_series(dataset: FileDataset, patient_position: str, uid_seed: str) -> None:
    dataset.Modality = "CT"
    dataset.SeriesInstanceUID = _uid(uid_seed, "series")
    dataset.SeriesNumber = 2
    dataset.SeriesDescription = "Abdomen phantom"
    dataset.PatientPosition = patient_position
    dataset.FrameOfReferenceUID = _uid(uid_seed, "frame of reference")
    dataset.PositionReferenceIndicator = ""
    dataset.BodyPartExamined = "ABDOMEN"
    dataset.Manufacturer = "orthanc-liver"
    dataset.ManufacturerModelName = "phantom"
    dataset.KVP = 120
    dataset.AcquisitionNumber = 1


def _add_plane(dataset: FileDataset, grid: Grid, index: int) -> None:
    row_step, column_step = _unit(grid, 1), _unit(grid, 2)
    normal = np.cross(column_step, row_step)
    position = grid.to_mm(np.array([index, 0.0, 0.0]))
    dataset.ImagePositionPatient = _ds(position)
    dataset.ImageOrientationPatient = _ds(np.concatenate([column_step, row_step]))
    dataset.PixelSpacing = _ds(grid.spacing_mm[1:])
    dataset.SliceThickness = _ds(np.abs(normal @ grid.affine[:3, :1]))[0]
    dataset.SliceLocation = _ds(normal[None] @ position)[0]


def _add_pixels(dataset: FileDataset, stored: NDArray[np.generic], fmt: PixelFormat) -> None:
    signed = fmt == "16-bit signed"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = 16 if signed else 12
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(signed)
    dataset.RescaleIntercept = _RESCALE_INTERCEPT_HU
    dataset.RescaleSlope = 1
    dataset.RescaleType = "HU"
    dataset.WindowCenter, dataset.WindowWidth = 60, 400
    dataset.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()


def _encode(dataset: FileDataset, transfer_syntax: str) -> None:
    syntax = UID(transfer_syntax)
    if syntax.is_encapsulated:
        dataset.compress(syntax, generate_instance_uid=False)
    elif not syntax.is_little_endian:
        raise ValueError("write little endian and let dcmconv +tb turn it into big endian")
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset["PixelData"].VR = "OW"
