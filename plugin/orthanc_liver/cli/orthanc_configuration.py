"""Orthanc's configuration as it lies on the disk: a file, or a folder of files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)


@dataclass(frozen=True)
class OrthancConfiguration:
    """problems: why Orthanc would not start with it, a sentence each."""

    content: Mapping[str, Any] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def read_configuration(place: Path) -> OrthancConfiguration:
    """Read a file, or every *.json of a folder, as Orthanc does."""
    files = sorted(place.glob("*.json")) if place.is_dir() else [place]
    content: dict[str, Any] = {}
    problems, first_in = [], dict[str, Path]()
    for file in files:
        try:
            found = parse(file.read_text())
        except OSError as error:
            problems.append(f"{file} cannot be read ({error.strerror})")
            continue
        except ValueError as error:
            problems.append(f"{file} is not JSON: {error}")
            continue
        for key in found.keys() & content.keys():
            problems.append(f"{key} stands in {first_in[key]} and in {file}: take one away")
        first_in |= dict.fromkeys(found, file)
        content |= found
    return OrthancConfiguration(content, tuple(problems))


def parse(text: str) -> dict[str, Any]:
    """JSON that may hold comments; raises ValueError."""
    found = json.loads(_COMMENT.sub(lambda match: match[1] or "", text))
    if not isinstance(found, dict):
        raise ValueError("it must be one object")  # noqa: TRY004 as for whatever is wrong in it
    return found
