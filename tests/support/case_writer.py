"""A phantom as hospitals have it: CT as DICOM or NIfTI, its liver as RTSTRUCT, SEG or NIfTI."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from liver_unet.nifti import write_nifti
from orthanc_liver.dicom.contours import trace_contours
from orthanc_liver.dicom.ct_series import read_ct_series
from orthanc_liver.dicom.result import Provenance, RoiStyle, to_bytes
from orthanc_liver.dicom.rtstruct import build_rtstruct
from tests.support.ct_writer import to_bytes as ct_to_bytes
from tests.support.ct_writer import write_ct_series, write_files
from tests.support.phantom import Phantom

Mask = NDArray[np.bool_]


def write_ct_folder(folder: Path, phantom: Phantom, uid_seed: str) -> list[pydicom.FileDataset]:
    """Write the series; return its slices in the phantom's order."""
    slices = write_ct_series(phantom.volume, uid_seed=uid_seed)
    write_files(folder, slices)
    return slices


def write_rtstruct(path: Path, slices: list[pydicom.FileDataset], mask: Mask, name: str) -> None:
    """Write a structure set whose contours, rasterised, are the mask. mask: in slices' order."""
    series = read_ct_series([ct_to_bytes(one) for one in slices])
    order = [str(one.SOPInstanceUID) for one in slices]
    sorted_mask = mask[[order.index(uid) for uid in series.sop_instance_uids]]
    contours = trace_contours(sorted_mask.astype(np.float32), series.volume.grid)
    provenance = Provenance("0", "drawn by a test", "0" * 64)
    style = RoiStyle(name=name)
    dataset = build_rtstruct(series, contours, provenance, style, datetime(2025, 3, 4))
    path.write_bytes(to_bytes(dataset))


def write_seg(
    path: Path,
    slices: list[pydicom.FileDataset],
    masks: Mapping[str, NDArray[np.generic]],
    kind: str = "BINARY",
) -> None:
    """Write a DICOM SEG by highdicom, one segment a mask; masks: in slices' order.

    kind: BINARY, LABELMAP for masks that do not overlap, or FRACTIONAL for shares.
    """
    sources = [pydicom.dcmread(BytesIO(ct_to_bytes(one))) for one in slices]
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for number, label in enumerate(masks, start=1)
    ]
    dataset = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=np.stack(list(masks.values()), axis=-1).astype(
            np.float32 if kind == "FRACTIONAL" else np.uint8
        ),
        segmentation_type=highdicom.seg.SegmentationTypeValues(kind),
        segment_descriptions=descriptions,
        series_instance_uid=highdicom.UID(),
        series_number=7,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="0",
        device_serial_number="0",
    )
    dataset.save_as(path, enforce_file_format=True)


def write_nifti_case(folder: Path, phantom: Phantom) -> None:
    """Write ct.nii.gz and liver.nii.gz."""
    folder.mkdir(parents=True)
    grid = phantom.volume.grid
    write_nifti(folder / "ct.nii.gz", phantom.volume.hu.astype(np.int16), grid)
    write_nifti(folder / "liver.nii.gz", phantom.liver.astype(np.uint8), grid)
