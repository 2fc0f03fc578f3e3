"""An Orthanc on paper: it keeps properties, notes and pictures, and whose study a series is of."""

from __future__ import annotations

import hashlib
from typing import Any

from orthanc_liver.host.server.api import Missing


def orthanc_id(name: str) -> str:
    """An identifier such as Orthanc's, always the same for a name."""
    digest = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
    return "-".join(digest[start : start + 8] for start in range(0, 40, 8))


class Paper:
    """As much of orthanc_liver.host.server.api.Orthanc as the records need."""

    def __init__(self) -> None:
        self.properties: dict[int, str] = {}
        self.kept: dict[str, bytes] = {}  # by path
        self.studies: dict[str, str] = {}  # by series; else the one that its name makes
        self.asked: list[str] = []
        self.said: list[str] = []

    def property(self, number: int) -> str:
        return self.properties.get(number, "")

    def set_property(self, number: int, text: str) -> None:
        self.properties[number] = text

    def get(self, path: str) -> Any:
        series = path.removeprefix("/series/")
        return {"ID": series, "ParentStudy": self.studies.get(series, orthanc_id("study"))}

    def get_bytes(self, path: str) -> bytes:
        self.asked.append(path)
        if path not in self.kept:
            raise Missing(path)
        return self.kept[path]

    def put(self, path: str, body: bytes) -> None:
        self.kept[path] = body

    def delete(self, path: str) -> None:
        if path not in self.kept:
            raise Missing(path)
        del self.kept[path]

    def log_error(self, message: str) -> None:
        self.said.append(message)
