"""What a result is called, after the CT that it is of, within the lengths that DICOM allows."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

from pydicom.charset import convert_encodings, decode_bytes, default_encoding, encode_string
from pydicom.dataset import Dataset

from orthanc_liver.engine.protocol import SOURCE

# Characters of LO, SH and ST.
_LO, _SH, _ST = 64, 16, 1024
_NAME_IN_LABEL = 11


def series_description(template: str, header: Dataset) -> str:
    """The template with the CT in SOURCE's place, cut there where it would be too long."""
    room = _LO - len(template.replace(SOURCE, ""))
    return template.replace(SOURCE, source_name(header)[: max(room, 0)])[:_LO].strip()


def structure_set_label(roi_name: str, header: Dataset) -> str:
    """As much of the ROI's name and the CT's as 16 characters hold; the CT's number in any case."""
    return f"{roi_name[:_NAME_IN_LABEL].rstrip()} {source_name(header)}"[:_SH].rstrip()


def structure_set_description(remarks: Iterable[str], origin: str) -> str:
    """The remarks as sentences, then the origin; where there is no room for all remarks, it says
    how many are left out."""
    told = [f"{one[:1].upper()}{one[1:].rstrip('. ')}." for one in remarks]
    for kept in range(len(told), 0, -1):
        left_out = len(told) - kept
        more = [f"{left_out} more in the report."] if left_out else []
        text = " ".join([*told[:kept], *more, origin])
        if len(text) <= _ST:
            return text
    more = [f"{len(told)} remarks are in the report."] if told else []
    return " ".join([*more, origin])[:_ST]


def can_be_written(texts: Sequence[str], header: Dataset) -> bool:
    """Whether the CT's own character set has all letters of these texts."""
    return all(text.isascii() or _comes_back(text, header) for text in texts)


def source_name(header: Dataset) -> str:
    """S3 PORTAL VENOUS: what the CT says of itself."""
    number = header.get("SeriesNumber")
    parts = [f"S{number}" if isinstance(number, int) else "", _line(header)]
    return " ".join(filter(None, parts)) or "CT"


def _line(header: Dataset) -> str:
    value = header.get("SeriesDescription") or ""
    if isinstance(value, bytes):  # text of another character set than the CT states
        value = value.decode("ascii", errors="replace").replace("\N{REPLACEMENT CHARACTER}", "?")
    text = value if isinstance(value, str) else " ".join(map(str, value))
    return " ".join("".join(c if c.isprintable() and c != "\\" else " " for c in text).split())


def _comes_back(text: str, header: Dataset) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            encodings = [
                "ascii" if one == default_encoding else one  # what pydicom takes for unstated
                for one in convert_encodings(header.get("SpecificCharacterSet"))
            ]
            return decode_bytes(encode_string(text, encodings), encodings, set()) == text
        except (LookupError, UnicodeError, ValueError, UserWarning):
            return False
