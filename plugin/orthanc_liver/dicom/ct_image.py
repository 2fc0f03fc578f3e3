"""One CT instance: its place in the patient and its HU, or a refusal that names it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import cc3d
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.tag import BaseTag
from pydicom.uid import (
    JPEG2000,
    UID,
    CTImageStorage,
    EnhancedCTImageStorage,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    LegacyConvertedEnhancedCTImageStorage,
)

from liver_unet.volume import AIR_HU, AIRLIKE_HU
from orthanc_liver.dicom.geometry import ImagePlane, image_plane
from orthanc_liver.dicom.image_type import is_not_hu, is_projection
from orthanc_liver.dicom.memory import MemoryLimit
from orthanc_liver.dicom.part10 import completed
from orthanc_liver.liver_errors import SeriesRefused

# Far more than metal has on an extended scale.
_FARTHEST_HU = 1_000_000
_INT16 = np.iinfo(np.int16)
_ICON = 0x00880200
_MULTI_FRAME_CT = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_POSSIBLY_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000)
_SERIES_KEYWORDS = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")
# RescaleType of Hounsfield units, in capitals or not; "US" (unspecified) and nothing are what some
# writers put there.
_HU_TYPES = ("HU", "HU_MOD", "HOUNSFIELD", "US", "")
# Philips' own element that names its own compression of the pixels.
_PHILIPS_COMPRESSION = (0x07A1, 0x1011)


@dataclass(frozen=True, eq=False)
class CtImage:
    """series: what must be one for all images: patient, study and series.

    hu: (row, column), int16 where the rescale gives integers in range, else float32.
    padding_hu: the highest HU that padding pixels, now air, would have had; None without padding.
    unbelieved_padding: pixels that hold a padding value of tissue's HU, and were left as they are.
    unit: RescaleType in capitals, "" where not given.
    header: the instance without its pixels and private attributes, values not yet converted.
    """

    series: tuple[str, ...]
    plane: ImagePlane
    hu: NDArray[np.int16] | NDArray[np.float32]
    frame_of_reference_uid: str
    padding_hu: float | None
    unbelieved_padding: int
    is_lossy: bool
    is_projection: bool
    unit: str
    header: pydicom.Dataset


@dataclass(frozen=True)
class Localizer:
    """A scout view that says so of itself; its pixels are not looked at."""

    series: tuple[str, ...]


def read_ct_image(
    file: bytes, limit: MemoryLimit | None = None, *, projections: bool = False
) -> CtImage | Localizer:
    """Read and decode one DICOM file; raises SeriesRefused where it is no sound CT image.

    With a limit, nothing is decoded that would be beyond it. projections: read those too.
    """
    with _refusing_damage("One of the series' files"):
        dataset = pydicom.dcmread(BytesIO(completed(file)))
        header = _header(dataset)  # before a look at a value replaces its bytes
        uid = str(dataset.get("SOPInstanceUID") or "")
        # Some writers exceed DICOM's 64 characters; anything but digits could be a name.
        if not re.fullmatch(r"[0-9.]{1,128}", uid):
            raise SeriesRefused(
                "One of the series' files has no valid SOPInstanceUID; export the series again."
            )
    with _refusing_damage(f"The header of instance {uid}"):
        _check_is_ct(dataset, uid)
        series = tuple(str(dataset.get(keyword)) for keyword in _SERIES_KEYWORDS)
        if "LOCALIZER" in _texts(dataset, "ImageType"):
            return Localizer(series)
        _check_image_type(_texts(dataset, "ImageType"), uid, projections=projections)
        if limit:
            limit.check_images(_whole(dataset, "Rows"), _whole(dataset, "Columns"))
        return _decoded(dataset, uid, series, header)


def _check_image_type(image_type: tuple[str, ...], uid: str, *, projections: bool) -> None:
    if is_not_hu(image_type):
        raise SeriesRefused(
            f"Instance {uid} is a subtraction or a map of one material (ImageType), not of HU; "
            "choose the series that it was made from."
        )
    if is_projection(image_type) and not projections:
        raise SeriesRefused(
            f"Instance {uid} is a projection (ImageType), in which organs have other sizes; "
            "choose the series that it was made from, or ask for this one by hand."
        )


def _check_is_ct(dataset: pydicom.Dataset, uid: str) -> None:
    sop_class = UID(str(dataset.get("SOPClassUID") or ""))
    modality = str(dataset.get("Modality") or "")
    if sop_class in _MULTI_FRAME_CT or _whole(dataset, "NumberOfFrames", 1) != 1:
        raise SeriesRefused(
            f"Instance {uid} is a multi-frame image ({_name(sop_class)}), which is not supported "
            "yet; send the series as single-frame CT images."
        )
    if modality != "CT" or sop_class != CTImageStorage:
        raise SeriesRefused(
            f"Instance {uid} is not a CT image (Modality {_code(modality)}, SOP class "
            f"{_name(sop_class)}); choose a series of CT images."
        )


def _decoded(
    dataset: pydicom.Dataset, uid: str, series: tuple[str, ...], header: pydicom.Dataset
) -> CtImage:
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
    given = str(dataset.get("RescaleType") or "").strip()
    unit = given.upper()
    if unit not in _HU_TYPES:
        raise SeriesRefused(
            f"The pixels of instance {uid} are not in HU (RescaleType {_code(given)}); "
            "choose a series of Hounsfield units."
        )
    slope, intercept = (
        float(_numbers(dataset, uid, keyword, 1)[0])
        for keyword in ("RescaleSlope", "RescaleIntercept")
    )
    if slope <= 0:
        raise SeriesRefused(
            f"RescaleSlope of instance {uid} is {slope:g}, so it has no HU; export the series "
            "again from its source."
        )
    stored = _stored_values(dataset, uid)
    ends_hu = np.array([stored.min(), stored.max()], dtype=np.float64) * slope + intercept
    if not np.abs(ends_hu).max() <= _FARTHEST_HU:
        raise SeriesRefused(
            f"The rescale of instance {uid} leads beyond {_FARTHEST_HU:,} HU, so it is damaged; "
            "export the series again from its source."
        )
    named_padding = _padding(dataset, stored)
    padding = named_padding
    if padding.any() and stored[padding].max() * slope + intercept > AIRLIKE_HU:
        padding = _at_the_border(padding)
    return CtImage(
        series=series,
        plane=plane,
        hu=_hounsfield(stored, slope, intercept, padding),
        frame_of_reference_uid=frame_of_reference_uid,
        padding_hu=float(stored[padding].max() * slope + intercept) if padding.any() else None,
        unbelieved_padding=int(np.count_nonzero(named_padding) - np.count_nonzero(padding)),
        is_lossy=_is_lossy(dataset),
        is_projection=is_projection(_texts(dataset, "ImageType")),
        unit=unit,
        header=header,
    )


def _code(value: str) -> str:
    """What may be repeated of a code: in a damaged file it may hold anything, a name too."""
    return value if re.fullmatch(r"[A-Z0-9_]{1,16}", value) else "unreadable" if value else "empty"


def _name(uid: UID) -> str:
    return "empty" if not uid else uid.name if uid.name != str(uid) else "unknown"


@contextmanager
def _refusing_damage(what: str) -> Iterator[None]:
    try:
        yield
    except SeriesRefused:
        raise
    # Readers and decoders fail in as many ways as files can be damaged, from KeyError to
    # zlib.error, and their messages quote values, which may be the patient's.
    except Exception:  # noqa: BLE001
        raise SeriesRefused(
            f"{what} is damaged or cannot be decoded; send the complete series again."
        ) from None


def _texts(dataset: pydicom.Dataset, keyword: str) -> tuple[str, ...]:
    value = dataset.get(keyword) or ()
    return (value,) if isinstance(value, str) else tuple(str(part) for part in value)


def _whole(dataset: pydicom.Dataset, keyword: str, default: int = 0) -> int:
    return int(dataset.get(keyword) or default)


def _numbers(dataset: pydicom.Dataset, uid: str, keyword: str, count: int) -> NDArray[np.float64]:
    """Return an attribute's finite numbers, or refuse the series for want of them."""
    with _refusing_damage(f"{keyword} of instance {uid}"):
        value = dataset.get(keyword)
        values = np.atleast_1d(np.array([] if value is None else value, dtype=np.float64))
    if values.shape != (count,) or not np.isfinite(values).all():
        wanted = "a finite number" if count == 1 else f"{count} finite numbers"
        problem = "is missing" if values.size == 0 else f"does not hold {wanted}"
        raise SeriesRefused(
            f"{keyword} of instance {uid} {problem}; export the series again from its source."
        )
    return values


def _stored_values(dataset: pydicom.Dataset, uid: str) -> NDArray[np.integer]:
    """Decode the pixels as they are stored, before any rescale."""
    syntax = dataset.file_meta.TransferSyntaxUID
    _check_is_decodable(dataset, uid, syntax)
    if not dataset.get("PixelData"):
        raise SeriesRefused(f"Instance {uid} holds no pixel data; send the complete series again.")
    rows, columns = (_whole(dataset, name) for name in ("Rows", "Columns"))
    bits = _whole(dataset, "BitsStored")
    if bits and _whole(dataset, "HighBit", bits - 1) != bits - 1:
        raise SeriesRefused(
            f"HighBit of instance {uid} is not BitsStored - 1, as DICOM demands, so its values "
            "could be shifted; export the series again from its source."
        )
    # libjpeg fills in what a damaged frame lacks without a word; CharLS does not.
    plugin = "pyjpegls" if syntax in JPEGLSTransferSyntaxes else ""
    with _refusing_damage(f"The pixel data of instance {uid}"), warnings.catch_warnings():
        # A decoder that warns has found more or other bytes than the attributes promise.
        warnings.simplefilter("error", UserWarning)
        if syntax in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes):
            _check_jpeg_is_complete(dataset.PixelData)
        if not syntax.is_encapsulated:
            _leave_padding_out(dataset, rows, columns)
        stored = get_decoder(syntax).as_array(dataset, index=0, raw=True, decoding_plugin=plugin)[0]
    is_grey = str(dataset.get("PhotometricInterpretation")).startswith("MONOCHROME")
    if stored.shape != (rows, columns) or stored.dtype.kind not in "iu" or not is_grey:
        raise SeriesRefused(
            f"The pixels of instance {uid} are not one grey image of {rows} x {columns}; "
            "choose a series of CT images."
        )
    return stored


def _check_is_decodable(dataset: pydicom.Dataset, uid: str, syntax: UID) -> None:
    coding = dataset.get(_PHILIPS_COMPRESSION)
    if coding is not None and "PMSCT" in str(coding.value):
        raise SeriesRefused(
            f"The pixels of instance {uid} are compressed in a private form of Philips' "
            "(PMSCT_RLE1), which only its own systems read; export the series without it."
        )
    try:
        is_decodable = get_decoder(syntax).is_available
    except NotImplementedError:
        is_decodable = False
    if not is_decodable:
        named = syntax if re.fullmatch(r"[0-9.]{1,64}", syntax) else "unreadable"
        raise SeriesRefused(
            f"The pixels of instance {uid} are in a transfer syntax that is not supported "
            f"({named}); export the series uncompressed."
        )


def _leave_padding_out(dataset: pydicom.Dataset, rows: int, columns: int) -> None:
    """Zeros behind the pixels are padding, as PS3.5 8.1.1 allows; a whole row may be image."""
    row_bytes = columns * (_whole(dataset, "BitsAllocated") // 8)
    excess = dataset.PixelData[rows * row_bytes :]
    if 0 < len(excess) < row_bytes and not any(excess):
        dataset.PixelData = dataset.PixelData[: rows * row_bytes]


def _check_jpeg_is_complete(pixel_data: bytes) -> None:
    frame = next(generate_frames(pixel_data, number_of_frames=1))
    if not frame.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise ValueError("no end-of-image marker")


def _padding(dataset: pydicom.Dataset, stored: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return where the scanner did not measure: PixelPaddingValue, to PixelPaddingRangeLimit."""
    if dataset.get("PixelPaddingValue") is None:
        return np.zeros(stored.shape, dtype=bool)
    first = _stored_value(dataset, "PixelPaddingValue", stored.dtype)
    limit = first
    if dataset.get("PixelPaddingRangeLimit") is not None:
        limit = _stored_value(dataset, "PixelPaddingRangeLimit", stored.dtype)
    return np.asarray((stored >= min(first, limit)) & (stored <= max(first, limit)))


def _at_the_border(padding: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the regions that touch the slice's border: inside, tissue may have the value too."""
    regions = cc3d.connected_components(padding.view(np.uint8), connectivity=8)
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    return np.isin(regions, border[border > 0])


def _stored_value(dataset: pydicom.Dataset, keyword: str, dtype: np.dtype[np.integer]) -> int:
    """Return an attribute as a pixel would hold it: writers often give -2000 as unsigned 63536."""
    bits = 8 * dtype.itemsize
    value = _whole(dataset, keyword) % (1 << bits)
    return value - (1 << bits) if dtype.kind == "i" and value >= 1 << (bits - 1) else value


def _hounsfield(
    stored: NDArray[np.integer], slope: float, intercept: float, padding: NDArray[np.bool_]
) -> NDArray[np.int16] | NDArray[np.float32]:
    if slope.is_integer() and intercept.is_integer():
        measured = stored[~padding] if padding.any() else stored
        ends = [int(end) * int(slope) + int(intercept) for end in _ends(measured)]
        if _INT16.min <= min(ends) and max(ends) <= _INT16.max:
            # Arithmetic modulo 2^16 is exact where the result is known to fit.
            factor, offset = np.array([slope, intercept], dtype=np.int64).astype(np.int16)
            hu: NDArray[np.int16] = stored.astype(np.int16) * factor + offset
            hu[padding] = AIR_HU
            return hu
    exact = stored.astype(np.float64) * slope + intercept
    exact[padding] = AIR_HU
    return exact.astype(np.float32)


def _ends(values: NDArray[np.integer]) -> tuple[int, int]:
    return (int(values.min()), int(values.max())) if values.size else (0, 0)


def _is_lossy(dataset: pydicom.Dataset) -> bool:
    """Whether compression has changed, or may have changed, the HU."""
    says = str(dataset.get("LossyImageCompression") or "")
    return says == "01" or (not says and dataset.file_meta.TransferSyntaxUID in _POSSIBLY_LOSSY)


def _header(dataset: pydicom.Dataset) -> pydicom.Dataset:
    """Copy what is small and not about this one image's pixels; the file's bytes can then go."""
    kept: dict[BaseTag, DataElement | RawDataElement] = {
        tag: dataset.get_item(tag)
        for tag in dataset.keys()  # noqa: SIM118 - iterating a dataset converts its values
        if not (tag.is_private or tag.group == 0x0028 or tag.group >= 0x5000 or tag == _ICON)
    }
    header = pydicom.Dataset(kept)
    implicit_vr, little_endian = dataset.original_encoding
    header.set_original_encoding(implicit_vr, little_endian, dataset.original_character_set)
    return header
