"""The Orthancs that a worker fetches from: a file of addresses and secrets, and the fetching.

{"north": {"Url": "https://...", "Username": "...", "Password": "...", "CaFile": "..."}}; without
CaFile the system's authorities are believed.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from orthanc_liver.engine.case import NAME
from orthanc_liver.liver_errors import LiverError

_FIELDS = {"Url", "Username", "Password", "CaFile"}
_TIMEOUT_S = 30.0
# An Orthanc that restarts is away for some seconds.
_TRIES = 4
_AGAIN_S = 5.0


class OrthancsRefused(LiverError):
    """The file of Orthancs is not one; never tells a value of it."""


class CannotFetch(LiverError):
    """str(error) says what did not come, and from which Orthanc by its name."""


@dataclass(frozen=True)
class Address:
    """Where an Orthanc answers, and as whom one asks."""

    name: str
    url: str
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""


def read_orthancs(path: Path) -> dict[str, Address]:
    """The addresses by name; OrthancsRefused says which of them is wrong."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise OrthancsRefused(f"{path} is not JSON") from None
    if not isinstance(found, dict) or not found:
        raise OrthancsRefused(f"{path} must hold an object of Orthancs by name")
    return {name: _address(path, name, one) for name, one in found.items()}


def _address(path: Path, name: str, one: Any) -> Address:
    if not re.fullmatch(NAME, name):
        raise OrthancsRefused(f"{path}: a name holds letters, digits, _, - and . alone, at most 64")
    if not isinstance(one, dict) or not set(one) <= _FIELDS or "Url" not in one:
        raise OrthancsRefused(
            f"{path}: {name} must hold Url, at will {', '.join(_FIELDS - {'Url'})}"
        )
    if not all(isinstance(value, str) and value.isprintable() for value in one.values()):
        raise OrthancsRefused(f"{path}: all that {name} holds must be text on one line")
    parts = urlsplit(one["Url"])
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise OrthancsRefused(f"{path}: Url of {name} must be https://host, without user")
    return Address(
        name,
        one["Url"].rstrip("/"),
        one.get("Username", ""),
        one.get("Password", ""),
        one.get("CaFile", ""),
    )


class Files:
    """The files of one case, over one connection."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Nothing more is fetched."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def file(self, instance: str) -> bytes:
        """The DICOM file of an instance; CannotFetch where it does not come."""
        reason = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_AGAIN_S)
            try:
                status, content = self._get(f"/instances/{instance}/file")
            except (OSError, http.client.HTTPException) as error:
                self.close()
                reason = type(error).__name__
                continue
            if status == http.HTTPStatus.OK:
                return content
            reason = f"HTTP status {status}"
            if status < http.HTTPStatus.INTERNAL_SERVER_ERROR:
                break
        raise CannotFetch(
            f"instance {instance} did not come from Orthanc {self._address.name}: {reason}"
        )

    def _get(self, path: str) -> tuple[int, bytes]:
        connection = self._connection = self._connection or _connect(self._address)
        headers = {}
        if self._address.username:
            told = f"{self._address.username}:{self._address.password}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(told).decode()}"
        connection.request("GET", urlsplit(self._address.url).path + path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()


def _connect(address: Address) -> http.client.HTTPConnection:
    parts = urlsplit(address.url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=_TIMEOUT_S)
    known = ssl.create_default_context(cafile=address.ca_file or None)
    return http.client.HTTPSConnection(host, parts.port, timeout=_TIMEOUT_S, context=known)
