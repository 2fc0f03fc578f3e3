"""A DICOM file told by its first bytes, and completed where its writer left out what comes first.

Some systems write the data set alone, without the preamble or the meta header of PS3.10.
"""

from __future__ import annotations

import struct

from pydicom.datadict import dictionary_has_tag
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import VR

# As much of a file as telling takes.
START_BYTES = 140
_PREAMBLE = b"\0" * 128 + b"DICM"
_META, _IDENTIFYING, _IDENTIFYING_BIG_ENDIAN = b"\2\0", b"\x08\0", b"\0\x08"
_VRS = {vr.value.encode() for vr in VR}
_LONGEST_FIRST_VALUE = 1024


def is_marked(start: bytes) -> bool:
    """Whether a file says itself that it is DICOM. start: its first START_BYTES."""
    return start[128:132] == b"DICM"


def starts_as_dicom(start: bytes) -> bool:
    """Whether a file is marked, or begins with an element as a data set without a mark does."""
    if is_marked(start):
        return True
    if len(start) < 8 or not start.startswith((_META, _IDENTIFYING, _IDENTIFYING_BIG_ENDIAN)):
        return False
    order = ">" if start.startswith(_IDENTIFYING_BIG_ENDIAN) else "<"
    group, element = struct.unpack(f"{order}HH", start[:4])
    if not dictionary_has_tag(group << 16 | element) and element != 0:
        return False
    return start[4:6] in _VRS or int.from_bytes(start[4:8], "little") <= _LONGEST_FIRST_VALUE


def completed(file: bytes) -> bytes:
    """Return the file with preamble and meta header; as it is where it has both, or is no DICOM."""
    marked = is_marked(file[:START_BYTES])
    if marked and file.startswith(_META, 132):
        return file
    body = file[132:] if marked else file
    if body.startswith(_META):
        return _PREAMBLE + body
    if not body.startswith((_IDENTIFYING, _IDENTIFYING_BIG_ENDIAN)):
        return file
    if body[4:6] not in _VRS:
        syntax = ImplicitVRLittleEndian
    elif body.startswith(_IDENTIFYING_BIG_ENDIAN):
        syntax = ExplicitVRBigEndian
    else:
        syntax = ExplicitVRLittleEndian
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    element = b"\2\0\x10\0UI" + len(uid).to_bytes(2, "little") + uid
    length = b"\2\0\0\0UL\4\0" + len(element).to_bytes(4, "little")
    return _PREAMBLE + length + element + body
