"""The networks that a command's --weights and --device ask for."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from liver_unet.segmenter import Segmenter


def warm_segmenter(options: argparse.Namespace) -> Segmenter:
    """On the CPU where the GPU is full or does not work, with a warning."""
    from liver_unet.fallback import load_segmenter
    from liver_unet.weights import default_weights

    loaded = load_segmenter(options.weights or default_weights(), options.device)
    if loaded.warning:
        sys.stderr.write(f"warning: {loaded.warning}\n")
    return loaded.segmenter
