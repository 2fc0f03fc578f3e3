"""Where the default weights are."""

from __future__ import annotations

from pathlib import Path

import liver_unet


def default_weights() -> Path:
    """model/weights of this checkout, beside the package that understands them."""
    return Path(liver_unet.__file__).parents[1] / "weights"
