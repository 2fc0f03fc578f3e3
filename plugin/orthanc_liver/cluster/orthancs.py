"""The Orthancs that a worker fetches from: a file of addresses and secrets.

{"north": {"Url": "https://...", "Username": "...", "Password": "...", "CaFile": "...",
"DicomWeb": "/dicom-web"}}; without CaFile the system's authorities are believed, and with DicomWeb
images come by DICOMweb, whose root at that Orthanc it is, instead of Orthanc's own REST.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orthanc_liver.engine.cluster_case import NAME
from orthanc_liver.liver_errors import LiverError

_OPTIONAL = ("Username", "Password", "CaFile", "DicomWeb")
_ROOT = r"(/[A-Za-z0-9_.~-]+)+"


class OrthancsRefused(LiverError):
    """The file of Orthancs is not one; never tells a value of it."""


@dataclass(frozen=True)
class Address:
    """Where an Orthanc answers, and as whom one asks; dicom_web: its root, empty: by REST."""

    name: str
    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    dicom_web: str = ""


def read_orthancs(path: Path) -> dict[str, Address]:
    """The addresses by name; OrthancsRefused says which of them is wrong."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OrthancsRefused(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise OrthancsRefused(f"{path} is not JSON") from None
    if not isinstance(found, dict) or not found:
        raise OrthancsRefused(f"{path} must hold an object of Orthancs by name")
    return {name: _address(path, name, one) for name, one in found.items()}


def _address(path: Path, name: str, one: Any) -> Address:
    if not re.fullmatch(NAME, name):
        raise OrthancsRefused(f"{path}: a name holds letters, digits, _, - and . alone, at most 64")
    if not isinstance(one, dict) or not set(one) <= {"Url", *_OPTIONAL} or "Url" not in one:
        raise OrthancsRefused(
            f"{path}: {name} must hold Url; optional are {', '.join(_OPTIONAL)}, nothing else"
        )
    if not all(isinstance(value, str) and value.isprintable() for value in one.values()):
        raise OrthancsRefused(f"{path}: all that {name} holds must be text on one line")
    try:
        parts = urlsplit(one["Url"])
        _ = parts.port
    except ValueError:
        raise OrthancsRefused(f"{path}: Url of {name} has no port that there is") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise OrthancsRefused(f"{path}: Url of {name} must be https://host, without user")
    if not re.fullmatch(_ROOT, one.get("DicomWeb", "/dicom-web")):
        raise OrthancsRefused(f"{path}: DicomWeb of {name} must be a path like /dicom-web")
    if one.get("CaFile") and not Path(one["CaFile"]).is_file():
        raise OrthancsRefused(f"{path}: CaFile of {name} is not there")
    return Address(name, one["Url"].rstrip("/"), *(one.get(name, "") for name in _OPTIONAL))
