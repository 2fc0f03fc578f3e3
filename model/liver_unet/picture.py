"""How a plane of a CT of an abdomen, and a region on it, are shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_WINDOW_HU = (-110.0, 240.0)


def grey_of(hu: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.uint8]:
    """HU as grey values."""
    low, high = _WINDOW_HU
    share = (hu.astype(np.float32) - low) / (high - low)
    return (share.clip(0, 1) * 255).astype(np.uint8)


def edge_of(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels just outside a region of a plane."""
    grown = inside.copy()
    grown[1:] |= inside[:-1]
    grown[:-1] |= inside[1:]
    grown[:, 1:] |= inside[:, :-1]
    grown[:, :-1] |= inside[:, 1:]
    return grown & ~inside
