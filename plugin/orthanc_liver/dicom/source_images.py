"""The CT's slices as highdicom wants them: only what it copies, and nothing that breaks a rule.

Written anew from the volume's grid. A scanner's own header may lack required attributes, hold
impossible dates or a negative spacing, and highdicom would fail on it or carry it on.
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
from numpy.typing import NDArray
from pydicom.config import RAISE
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage
from pydicom.valuerep import DSfloat, validate_value

from orthanc_liver.dicom.ct_series import CtSeries
from orthanc_liver.dicom.result import copy_patient_and_study

_TEXTS = {"LO", "LT", "SH", "ST", "UC", "UT"}
# What an invalid value of must not cost the patient the object: it is left empty.
_CLEANED = {"DA", "TM", "DS", "IS", "AS", "CS", "LO", "SH", "PN", "DT"}
# A result that lacked one of these would be filed with another patient, or not be found.
_IDENTITY = ("PatientID", "IssuerOfPatientID", "StudyID", "AccessionNumber")


def source_images(series: CtSeries) -> list[Dataset]:
    """Return one dataset without pixels per slice, in the volume's order."""
    common = Dataset()
    copy_patient_and_study(common, series.header)
    _clean(common)
    # Its values are text by now; highdicom knows few character sets but writes any in this one.
    common.SpecificCharacterSet = "ISO_IR 192"
    grid = series.volume.grid
    row_step, column_step = (grid.affine[:3, axis] / grid.spacing_mm[axis] for axis in (1, 2))
    normal = np.cross(column_step, row_step)
    common.SOPClassUID = CTImageStorage
    common.Modality = "CT"
    common.SeriesInstanceUID = series.header.SeriesInstanceUID
    common.Rows, common.Columns = grid.shape[1:]
    common.PixelSpacing = _ds(grid.spacing_mm[1:])
    common.ImageOrientationPatient = _ds(np.concatenate([column_step, row_step]))
    common.SliceThickness = _ds(np.abs(grid.affine[:3, :1].T @ normal))[0]
    images = []
    for number, (place, uid) in enumerate(
        zip(series.volume.own_slices, series.sop_instance_uids, strict=True)
    ):
        image = Dataset()
        image.update(common)
        image.SOPInstanceUID = uid
        image.InstanceNumber = number + 1
        image.ImagePositionPatient = _ds(grid.to_mm(np.array([place, 0.0, 0.0])))
        images.append(image)
    return images


def restore_identity(dataset: Dataset, header: Dataset) -> None:
    """Put back, in what highdicom made of the source images, what only it could not take."""
    for keyword in _IDENTITY:
        if header.get(keyword):
            dataset.add(deepcopy(header[keyword]))


def _clean(dataset: Dataset) -> None:
    for element in dataset:
        if isinstance(element.value, bytes) and element.VR in _TEXTS:
            element.value = element.value.decode("ascii", errors="replace")
        if element.VR not in _CLEANED:
            continue
        if element.VR == "PN":
            element.value = str(element.value)  # it would keep the bytes of the CT's character set
        values = element.value if element.VM > 1 else [element.value]
        try:
            for value in values:
                validate_value(element.VR, str(value), RAISE)
        except (ValueError, TypeError):
            element.clear()


def _ds(values: NDArray[np.float64]) -> list[DSfloat]:
    """Rounded so that no minus zero is left, and cut to DICOM's 16 bytes."""
    return [DSfloat(round(float(value), 9) + 0.0, auto_format=True) for value in values]
