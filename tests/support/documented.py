"""The examples of docs/INSTALL.md and docs/OPERATE.md, and Orthanc as it starts with them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.orthanc_server import CHECKOUT, OrthancServer, merged

INSTALL = (CHECKOUT / "docs" / "INSTALL.md").read_text()
_OPERATE = (CHECKOUT / "docs" / "OPERATE.md").read_text()


@dataclass(frozen=True)
class Example:
    """A part of Orthanc's configuration. file: what its first line names."""

    section: str
    file: str
    content: Mapping[str, Any]


def examples() -> list[Example]:
    """Every example that names its file, in its order."""
    found, section = [], ""
    block = re.compile(r"^##+ ([^\n]+)|^```json\n// (\S+)[^\n]*\n(.*?)^```", re.M | re.S)
    for heading, file, text in block.findall(INSTALL + _OPERATE):
        section = heading or section
        if file:
            found.append(Example(section, file, json.loads(text)))
    return found


class DocumentedServer(OrthancServer):
    """Orthanc with a folder of configuration files, by name; its places are ours, in whichever
    file they stand."""

    def __init__(self, folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(folder, {})
        self.files = {name: dict(content) for name, content in files.items()}

    def add(self, example: Example) -> None:
        """Do what the guide says: change the key in that file, or make the file."""
        name = Path(example.file).name
        self.files[name] = merged(self.files.get(name, {}), example.content)

    def _write_configuration(self) -> Path:
        place = self.folder / "etc"
        place.mkdir(exist_ok=True)
        here = {
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "storage"),
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "PythonScript": str(CHECKOUT / "plugin" / "orthanc_plugin.py"),
        }
        for name, content in self.files.items():
            known = {key: here.get(key, value) for key, value in content.items()}
            (place / name).write_text(json.dumps(known, indent=2))
        return place
