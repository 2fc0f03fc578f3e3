"""The first slice's attributes as the results will bear them: the CT's own bytes where need be."""

from __future__ import annotations

from io import BytesIO

import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import STR_VR, PersonName

from orthanc_liver.liver_errors import SeriesRefused

_TEXTS = ("LO", "LT", "SH", "ST", "UC", "UT")
_LOST = "\N{REPLACEMENT CHARACTER}"
# Without these a result would be filed with another patient or study.
_IDENTITY = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


def copied_header(attributes: pydicom.Dataset, notes: list[str]) -> pydicom.Dataset:
    """Convert the attributes; what cannot be read, or written and read again, is left out with a
    note. Raises SeriesRefused where that would be what a result is filed by."""
    header = pydicom.Dataset()
    for tag in attributes.keys():  # noqa: SIM118 - iterating a dataset converts its values
        try:
            element = _converted(attributes, tag)
            _check_is_read_again(element)
            header.add(element)
        # A damaged value may raise anything, and must not cost the patient the whole series.
        except Exception:  # noqa: BLE001
            name = pydicom.datadict.keyword_for_tag(tag) or str(tag)
            if name in _IDENTITY:
                raise SeriesRefused(
                    f"{name} of the first slice cannot be read, and a result would be filed "
                    "elsewhere without it; export the series again from its source."
                ) from None
            notes.append(f"{name} of the first slice cannot be read and was left out.")
    return header


def _converted(dataset: pydicom.Dataset, tag: BaseTag) -> DataElement:
    """Convert one element; text of another character set than stated keeps its bytes."""
    raw = dataset.get_item(tag)
    element = dataset[tag]
    if element.VR == "SQ":
        for item in element.value:
            for nested in list(item.keys()):
                if nested.is_private:
                    del item[nested]
                else:
                    item[nested] = _converted(item, nested)
    elif isinstance(raw, RawDataElement) and _LOST in str(element.value):
        kept = (raw.value or b"").rstrip(b"\0 ")
        if isinstance(element.value, PersonName):
            element.value = PersonName(kept, element.value.encodings)
        elif element.VR in _TEXTS:
            return DataElement(tag, element.VR, kept, already_converted=True)
    return element


def _check_is_read_again(element: DataElement) -> None:
    """Raise where the element, written alone, is not what is read again.

    An explicit VR other than the dictionary's is lost in implicit VR, which a long contour needs.
    """
    alone = pydicom.Dataset()
    alone.add(element)
    for implicit in (True, False):
        buffer = DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = implicit, True
        write_dataset(buffer, alone, "ISO_IR 192")
        again = read_dataset(BytesIO(buffer.getvalue()), implicit, is_little_endian=True)
        for written, read in zip(alone.iterall(), again.iterall(), strict=True):
            if written.tag != read.tag or not _is_of_one_form(written.VR, read.VR):
                raise ValueError("another element is read than was written")
            str(read.value)


def _is_of_one_form(written: str, read: str) -> bool:
    """Whether the same bytes mean the same; "US or SS" is written as one of them."""
    return read in written or read == "UN" or {written, read} <= STR_VR
