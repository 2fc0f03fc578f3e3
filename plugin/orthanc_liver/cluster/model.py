"""Which model is installed here, told without loading it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from liver_unet import DEFAULT_WEIGHTS
from liver_unet.model_errors import WeightsRefused


@dataclass(frozen=True)
class Model:
    """As its spec names it."""

    name: str
    sha256: str


def model_of(weights: Path | None = None) -> Model:
    """The model in a folder, else the default one; WeightsRefused where there is none."""
    path = (weights or DEFAULT_WEIGHTS) / "liver.json"
    try:
        spec = json.loads(path.read_bytes())
        return Model(str(spec["name"]), str(spec["sha256"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsRefused(f"{path} does not name a model: {type(error).__name__}") from error
