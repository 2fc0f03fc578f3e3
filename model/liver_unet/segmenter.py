"""The liver of one CT, from its HU to a probability on its own grid."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from liver_unet.doubt import doubt_about, signals_of, where_unsure
from liver_unet.freed_memory import keep_freed_memory
from liver_unet.liver import NOTHING_SEEN, Liver, NoLiver
from liver_unet.localise import coarse_localisation, fine_localisation
from liver_unet.looks import mean_of_looks
from liver_unet.model import Model
from liver_unet.model_errors import DeviceRefused, WeightsRefused
from liver_unet.postprocess import SMALLEST_LIVER_ML, Found, outline
from liver_unet.preprocess import to_model_input
from liver_unet.stages import Stages
from liver_unet.volume import Volume
from liver_unet.weights import SPEC_FILE

# Coarse localisation sees most of a liver; what it sees less than this of is none.
_LEAST_SEEN_ML = SMALLEST_LIVER_ML / 4
# In the folder of the fine network's weights.
COARSE_FOLDER = "coarse"


@dataclass(frozen=True, eq=False)
class Segmenter:
    """The networks on their device.

    coarse: sees all of the body at once, and finds the liver for the fine one to outline; without
    it the fine one looks itself, and there is no second opinion.
    on_cpu: of one on a GPU, the same on the CPU, from the start: a full GPU cannot even give its
    weights back.
    """

    fine: Model
    coarse: Model | None = None
    on_cpu: Segmenter | None = None

    @classmethod
    def load(cls, weights: Path, device: str = "auto") -> Segmenter:
        """device: "auto" (a GPU when there is one), "cpu" or "cuda"; raises ModelError."""
        chosen = device_there(device)
        keep_freed_memory()
        on_cpu = cls._load_on(torch.device("cpu"), weights)
        if chosen.type == "cpu":
            return on_cpu
        return replace(cls._load_on(chosen, weights), on_cpu=on_cpu)

    @classmethod
    def _load_on(cls, device: torch.device, weights: Path) -> Segmenter:
        fine = Model.load(weights, device)
        folder = weights / COARSE_FOLDER
        if not (folder / SPEC_FILE).exists():
            return cls(fine)
        coarse = Model.load(folder, device)
        if coarse.spec.window_hu != fine.spec.window_hu:
            raise WeightsRefused(
                f"{folder}: the coarse network's window_hu {coarse.spec.window_hu} is not the fine "
                f"one's {fine.spec.window_hu}: they are shown one image"
            )
        return cls(fine, coarse)

    @property
    def device(self) -> torch.device:
        return self.fine.device

    @property
    def sha256(self) -> str:
        """Of all that an outline comes of; a network alone has its own."""
        ours = [one.spec.sha256 for one in (self.fine, self.coarse) if one]
        return ours[0] if len(ours) == 1 else hashlib.sha256(" ".join(ours).encode()).hexdigest()

    def warm_up(self) -> None:
        """Run one patch, so that the first patient does not wait for what that prepares."""
        for model in (self.fine, self.coarse):
            if model:
                model.warm_up()

    def segment(self, volume: Volume, stages: Stages) -> Liver | NoLiver:
        """Return the liver, or why the scan shows none."""
        spec = self.fine.spec
        with stages("resample"):
            image, grid = to_model_input(volume, spec.spacing_mm, spec.window_hu, self.device)
        with stages("localise") as at:
            look = coarse_localisation(image, self.fine, self.coarse, at)
            if look is None:
                return NoLiver(NOTHING_SEEN, 0.0)
            seen = look.on_image(image)
            seen_ml = float(np.count_nonzero(seen)) * grid.voxel_ml
        if seen_ml < _LEAST_SEEN_ML:
            return NoLiver(NOTHING_SEEN, seen_ml)
        with stages("infer") as at:
            probability, box, mask = fine_localisation(self.fine.patches(image), seen, at)
        if mask.any() and self.coarse:
            with stages("look again") as at:
                first = (probability, box, mask)
                probability, mask = mean_of_looks(image, grid, self.fine, look, first, at)
        if not mask.any():
            return NoLiver("what the coarse network saw is no liver on closer inspection", seen_ml)
        found = outline(Found(image, grid, probability, box, mask), volume, stages)
        if isinstance(found, NoLiver):
            return found
        with stages("doubt"):
            second_opinion = look.dice(mask) if self.coarse else None
            signals = signals_of(probability, mask[box], grid.cropped(box), second_opinion)
            doubt = doubt_about(found, volume, signals, spec.calibration)
        return replace(found, doubt=doubt, unsure=where_unsure(signals))


def chosen_device(name: str) -> torch.device:
    """Where to compute; "auto" is a GPU when there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def device_there(name: str) -> torch.device:
    """Like chosen_device; raises DeviceRefused where it is not to be had."""
    chosen = chosen_device(name)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise DeviceRefused(
            f"PyTorch sees no GPU {name} here: choose cpu, or install the build of PyTorch that is "
            "made for this machine's GPU"
        )
    return chosen
