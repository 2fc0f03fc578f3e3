"""Which model a folder of weights holds, told by its spec without loading it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from orthanc_liver.identifiers import SHA256

_SPEC = "liver.json"


@dataclass(frozen=True)
class NamedModel:
    """As its spec names it."""

    name: str
    sha256: str


def model_in(folder: Path) -> NamedModel | None:
    """None where the folder holds no weights."""
    try:
        spec = json.loads((folder / _SPEC).read_bytes())
        found = NamedModel(spec["name"], spec["sha256"])
        is_named = isinstance(found.name, str) and re.fullmatch(SHA256, found.sha256)
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None
    return found if is_named else None
