"""One CT instance: its place in the patient and its HU, or a refusal that names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    LegacyConvertedEnhancedCTImageStorage,
)

from orthanc_liver.dicom.geometry import ImagePlane, image_plane
from orthanc_liver.errors import SeriesRefused

AIR_HU = -1024
_MULTI_FRAME_CT = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_POSSIBLY_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000)
_ENDS_WITH_MARKER = (
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)
_END_OF_IMAGE = b"\xff\xd9"
# Rescale types whose values are Hounsfield units; "US" (unspecified) is what some writers put there.
_HU_TYPES = ("HU", "HU_MOD", "US", "")


@dataclass(frozen=True, eq=False)
class CtImage:
    """hu: (row, column), int16 where the rescale gives integers in range, else float32.

    header: the instance without its pixels and private attributes, not yet converted.
    padding_hu: the HU that the padding value would have had, None where no pixel was padding.
    """

    plane: ImagePlane
    hu: NDArray[np.int16] | NDArray[np.float32]
    frame_of_reference_uid: str
    padding_hu: float | None
    is_lossy: bool
    has_hu_unit: bool
    header: pydicom.Dataset


def parse_ct(file: bytes) -> pydicom.Dataset:
    """Read one DICOM file and make sure that it is a single-frame CT image."""
    try:
        dataset = pydicom.dcmread(BytesIO(file))
        uid = str(dataset.get("SOPInstanceUID") or "")
        modality = str(dataset.get("Modality") or "")
        sop_class = UID(str(dataset.get("SOPClassUID") or ""))
    # pydicom answers damaged files with many kinds of exceptions, from KeyError to zlib.error.
    except Exception as error:  # noqa: BLE001
        raise SeriesRefused(
            "One of the series' files is not DICOM, or its header is damaged; "
            "send the complete series again."
        ) from error
    if not uid:
        raise SeriesRefused(
            "One of the series' files has no SOPInstanceUID; export the series again."
        )
    if sop_class in _MULTI_FRAME_CT or _whole(dataset, uid, "NumberOfFrames", 1) != 1:
        raise SeriesRefused(
            f"Instance {uid} is a multi-frame CT ({sop_class.name}), which is not supported yet; "
            "send the series as single-frame CT images."
        )
    if modality != "CT" or sop_class != CTImageStorage:
        raise SeriesRefused(
            f"Instance {uid} is not a CT image (Modality {modality or 'empty'}, SOP class "
            f"{sop_class.name or 'empty'}); choose a series of CT images."
        )
    return dataset


def is_localizer(dataset: pydicom.Dataset) -> bool:
    """Whether the image says of itself that it is a scout view."""
    image_type = dataset.get("ImageType") or ()
    return "LOCALIZER" in ([image_type] if isinstance(image_type, str) else image_type)


def read_ct_image(dataset: pydicom.Dataset) -> CtImage:
    """Decode what parse_ct accepted. Empties the dataset of its pixels."""
    uid = str(dataset.SOPInstanceUID)
    plane = image_plane(
        uid,
        _numbers(dataset, uid, "ImagePositionPatient", 3),
        _numbers(dataset, uid, "ImageOrientationPatient", 6),
        _numbers(dataset, uid, "PixelSpacing", 2),
    )
    frame_of_reference_uid = str(dataset.get("FrameOfReferenceUID") or "")
    if not frame_of_reference_uid:
        raise SeriesRefused(
            f"Instance {uid} names no frame of reference (FrameOfReferenceUID), so contours "
            "could not be tied to it; export the series again from its source."
        )
    unit = str(dataset.get("RescaleType") or "").strip()
    if unit not in _HU_TYPES:
        raise SeriesRefused(
            f"The pixels of instance {uid} are not in HU (RescaleType {unit}); "
            "choose a series of Hounsfield units."
        )
    stored = _stored_values(dataset, uid)
    padding = _padding_range(dataset, uid, stored.dtype)
    hu, padding_hu = _hounsfield(
        stored,
        float(_numbers(dataset, uid, "RescaleSlope", 1)[0]),
        float(_numbers(dataset, uid, "RescaleIntercept", 1)[0]),
        padding,
        uid,
    )
    return CtImage(
        plane,
        hu,
        frame_of_reference_uid,
        padding_hu,
        _is_lossy(dataset),
        unit != "US",
        _without_pixels(dataset),
    )


@contextmanager
def _refusing_damage(uid: str, what: str) -> Iterator[None]:
    try:
        yield
    except SeriesRefused:
        raise
    # Decoders and value conversions fail in as many ways as files can be damaged.
    except Exception as error:  # noqa: BLE001
        raise SeriesRefused(
            f"{what} of instance {uid} is damaged or cannot be decoded; send the series again."
        ) from error


def _numbers(dataset: pydicom.Dataset, uid: str, keyword: str, count: int) -> NDArray[np.float64]:
    """Return an attribute's finite numbers, or refuse the series for want of them."""
    with _refusing_damage(uid, keyword):
        value = dataset.get(keyword)
        values = np.atleast_1d(np.array([] if value is None else value, dtype=np.float64))
    if values.shape != (count,) or not np.isfinite(values).all():
        problem = "is missing" if values.size == 0 else f"does not hold {count} finite numbers"
        raise SeriesRefused(
            f"{keyword} of instance {uid} {problem}; export the series again from its source."
        )
    return values


def _whole(dataset: pydicom.Dataset, uid: str, keyword: str, default: int = 0) -> int:
    with _refusing_damage(uid, keyword):
        return int(dataset.get(keyword) or default)


def _stored_values(dataset: pydicom.Dataset, uid: str) -> NDArray[np.integer]:
    """Decode the pixels as they are stored, before any rescale."""
    if not dataset.get("PixelData"):
        raise SeriesRefused(f"Instance {uid} holds no pixel data; send the complete series again.")
    rows, columns = (_whole(dataset, uid, name) for name in ("Rows", "Columns"))
    syntax = dataset.file_meta.TransferSyntaxUID
    with _refusing_damage(uid, f"The pixel data ({syntax.name})"):
        if syntax.is_encapsulated:
            _check_frame(dataset.PixelData, syntax)
        else:
            expected = rows * columns * int(dataset.BitsAllocated) // 8
            _check_length(len(dataset.PixelData), expected + expected % 2)
        stored = get_decoder(syntax).as_array(dataset, index=0, raw=True)[0]
    if stored.shape != (rows, columns) or stored.dtype.kind not in "iu":
        raise SeriesRefused(
            f"The pixels of instance {uid} are not one grey {rows} x {columns} image; "
            "choose a series of CT images."
        )
    return stored
