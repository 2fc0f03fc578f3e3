"""orthanc-liver --version: the program and the networks that come with it."""

from __future__ import annotations

import json

from liver_unet import DEFAULT_WEIGHTS
from orthanc_liver import __version__


def about() -> str:
    """Name the version and, a line for each network, its name and the SHA-256 of its weights."""
    lines = [f"orthanc-liver {__version__}"]
    for folder in (DEFAULT_WEIGHTS, DEFAULT_WEIGHTS / "coarse"):
        try:
            spec = json.loads((folder / "liver.json").read_bytes())
            lines.append(f"{spec['name']} {spec['sha256']}")
        except (OSError, ValueError, KeyError):
            lines.append(f"{folder} holds no weights: install orthanc-liver again")
    return "\n".join(lines)
