"""The networks that a command's --weights and --device ask for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liver_unet.segmenter import Segmenter


def segmenter_of(options: argparse.Namespace) -> Segmenter:
    """On the CPU where the GPU is full or does not work, with a warning."""
    from liver_unet.fallback import warm_segmenter
    from liver_unet.weights import default_weights

    return warm_segmenter(options.weights or default_weights(), options.device)
