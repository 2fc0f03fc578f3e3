"""A GPU that has too little memory for a series, or none to offer at all: the CPU takes over."""

from __future__ import annotations

from pathlib import Path

import torch

from liver_unet.liver import Liver, NoLiver
from liver_unet.segmenter import Segmenter
from liver_unet.stages import Stages
from liver_unet.volume import Volume

FELL_BACK = "The GPU had too little memory for this series; it was computed on the CPU."


def load_segmenter(weights: Path, device: str) -> tuple[Segmenter, str]:
    """Like Segmenter.load, and warm; with the device's name. "auto" takes the CPU where the GPU
    that torch sees does not work, and the name says so.

    Raises WeightsRefused, and RuntimeError where the device that was asked for by name fails.
    """
    try:
        segmenter = Segmenter.load(weights, device)
        segmenter.warm_up()
    except RuntimeError as error:
        if device != "auto":
            raise
        segmenter = Segmenter.load(weights, "cpu")
        segmenter.warm_up()
        return segmenter, f"cpu, as the GPU failed ({type(error).__name__})"
    return segmenter, str(segmenter.device)


def fall_back_warnings(asked: Segmenter, used: Segmenter) -> tuple[str, ...]:
    """What the report says where another segmenter did the work than was asked to."""
    return () if used is asked else (FELL_BACK,)


def segment_or_fall_back(
    segmenter: Segmenter, volume: Volume, stages: Stages
) -> tuple[Liver | NoLiver, Segmenter]:
    """Like Segmenter.segment; with the segmenter that did it: another one where the GPU's memory
    did not suffice."""
    try:
        return segmenter.segment(volume, stages), segmenter
    except torch.OutOfMemoryError:
        if segmenter.on_cpu is None:
            raise
        on_cpu = segmenter.on_cpu
    # Outside of the handler, whose traceback holds on to the tensors.
    torch.cuda.empty_cache()
    return on_cpu.segment(volume, stages), on_cpu
