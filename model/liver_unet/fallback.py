"""A GPU that is full, lost or does not work at all: the CPU takes over, and says so."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from liver_unet.freed_memory import is_short_of_memory
from liver_unet.gpu import LEAST_FREE_MIB, free_mib, give_back_unused_memory, is_full
from liver_unet.liver import Liver, NoLiver
from liver_unet.segmenter import Segmenter, chosen_device
from liver_unet.stages import Stages
from liver_unet.volume import Volume

TOO_FULL = "The GPU had too little memory for this series; it was computed on the CPU."
FAILED = "The GPU failed in this series ({}); it was computed on the CPU."


@dataclass(frozen=True, eq=False)
class Loaded:
    """A segmenter that is warm. device: its name, and why it is not the GPU that was asked for.

    in_place_of_gpu: the GPU may work again later.
    """

    segmenter: Segmenter
    device: str
    in_place_of_gpu: bool = False


@dataclass(frozen=True, eq=False)
class Computed:
    """What a scan came to. by: another segmenter than was asked, where the GPU could not."""

    found: Liver | NoLiver
    by: Segmenter
    warnings: tuple[str, ...] = ()


def load_segmenter(weights: Path, device: str) -> Loaded:
    """Like Segmenter.load, and warm; on the CPU where the GPU is full, or was only "auto".

    Raises WeightsRefused, and RuntimeError where the device that was asked for by name fails, or
    the CPU itself.
    """
    trouble = _trouble(device)
    if not trouble:
        try:
            segmenter = _load_warm(weights, device)
            return Loaded(segmenter, str(segmenter.device))
        except RuntimeError as error:
            if not _is_the_gpus(error, device) or (device != "auto" and not is_full(error)):
                raise
            trouble = f"the GPU failed ({type(error).__name__})"
        # Outside of the handler, whose traceback holds on to what is on the card.
        give_back_unused_memory()
    return Loaded(_load_warm(weights, "cpu"), f"cpu, as {trouble}", in_place_of_gpu=True)


def warm_segmenter(weights: Path, device: str) -> Segmenter:
    """As load_segmenter does, for whoever reads stderr: there it says why it is not the GPU."""
    loaded = load_segmenter(weights, device)
    if loaded.in_place_of_gpu:
        sys.stderr.write(f"warning: the network runs on the {loaded.device}\n")
    return loaded.segmenter


def _load_warm(weights: Path, device: str) -> Segmenter:
    segmenter = Segmenter.load(weights, device)
    segmenter.warm_up()
    return segmenter


def _is_the_gpus(error: RuntimeError, device: str) -> bool:
    """Whether the CPU may do better."""
    return chosen_device(device).type == "cuda" and not is_short_of_memory(error)


def _trouble(device: str) -> str:
    chosen = chosen_device(device)
    free = free_mib(chosen) if chosen.type == "cuda" else None
    if free is None or free >= LEAST_FREE_MIB:
        return ""
    return f"the GPU has only {free} MiB free"


def segment_or_fall_back(segmenter: Segmenter, volume: Volume, stages: Stages) -> Computed:
    """Like Segmenter.segment; whatever the GPU says, the CPU computes the scan then."""
    if segmenter.on_cpu is None:
        return Computed(segmenter.segment(volume, stages), segmenter)
    try:
        return Computed(segmenter.segment(volume, stages), segmenter)
    except RuntimeError as error:
        if is_short_of_memory(error):
            raise
        warning = TOO_FULL if is_full(error) else FAILED.format(type(error).__name__)
    # Outside of the handler, whose traceback holds on to the tensors.
    give_back_unused_memory()
    return Computed(segmenter.on_cpu.segment(volume, stages), segmenter.on_cpu, (warning,))
