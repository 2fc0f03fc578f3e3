"""The liver of one CT, from its HU to a probability on its own grid."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from liver_unet.inference import Windows, fastest_precision, liver_probability
from liver_unet.localise import careful_look, quick_look
from liver_unet.network import build_network, for_inference, to_device
from liver_unet.postprocess import (
    SMALLEST_LIVER_ML,
    is_too_dark,
    liver_warnings,
    one_liver,
    second_object_warnings,
)
from liver_unet.preprocess import to_model_input
from liver_unet.resample import resample
from liver_unet.skull import is_brain, without_brain
from liver_unet.volume import Box, Grid, Volume, box_of
from liver_unet.weights import ModelSpec, load_model

Progress = Callable[[str, float], None]

# The quick look sees most of a liver; what it sees less than this of is none.
_LEAST_SEEN_ML = SMALLEST_LIVER_ML / 4


@dataclass(frozen=True, eq=False)
class Liver:
    """A liver on the CT's own grid.

    probability: (slice, row, column) float32 within box of that grid; the liver is where it
    exceeds 0.5, one object without holes.
    """

    probability: NDArray[np.float32]
    box: Box
    ct_grid: Grid
    warnings: tuple[str, ...]

    @property
    def mask(self) -> NDArray[np.bool_]:
        return self.probability > 0.5

    @property
    def grid(self) -> Grid:
        """The grid of probability and mask."""
        return self.ct_grid.cropped(self.box)

    def mask_on_ct(self) -> NDArray[np.bool_]:
        """The mask on the whole CT's grid."""
        whole = np.zeros(self.ct_grid.shape, dtype=bool)
        whole[self.box] = self.mask
        return whole

    @property
    def volume_ml(self) -> float:
        return float(np.count_nonzero(self.mask)) * self.ct_grid.voxel_ml


@dataclass
class Stopwatch:
    """Seconds per stage, in the order they ran."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str):  # type: ignore[no-untyped-def]
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A loaded model on its device."""

    network: nn.Module
    spec: ModelSpec
    device: torch.device
    precision: torch.dtype

    @classmethod
    def load(cls, weights: Path, device: str = "auto") -> Segmenter:
        """device: "auto" (a GPU when there is one), "cpu" or "cuda"."""
        chosen = chosen_device(device)
        precision = fastest_precision(chosen)
        network, spec = load_model(weights, chosen)
        return cls(for_inference(network, precision), spec, chosen, precision)

    def warm_up(self) -> None:
        """Run one window, so that the first patient does not wait for what that prepares."""
        self._quick_look(torch.ones(self.spec.patch, device=self.device), lambda fraction: None)

    def on_cpu(self) -> Segmenter:
        """The same model on the CPU; the GPU's copy stays where it is."""
        cpu = torch.device("cpu")
        precision = fastest_precision(cpu)
        network = build_network(self.spec.channels, self.spec.classes)
        network.load_state_dict(self.network.state_dict())
        network = for_inference(to_device(network, cpu), precision)
        return Segmenter(network, self.spec, cpu, precision)

    def segment(self, volume: Volume, progress: Progress, clock: Stopwatch) -> Liver | None:
        """Return the liver, or None where the scan shows none."""
        spec = self.spec
        with clock.stage("resample"):
            progress("resample", 0.0)
            image, grid = to_model_input(volume, spec.spacing_mm, spec.window_hu)
            image = without_brain(image, spec.spacing_mm).to(self.device)
        with clock.stage("localise"):
            seen = quick_look(
                lambda part: self._quick_look(part, lambda f: progress("localise", f)),
                image,
                spec.patch,
                _LEAST_SEEN_ML / grid.voxel_ml,
            )
        if seen is None:
            return None
        with clock.stage("infer"):
            windows = Windows(self.network, image, spec.patch, precision=self.precision)
            near = careful_look(windows, seen, lambda f: progress("infer", f))
            if near is None:
                return None
            probability, looked_at, found = near
            if is_brain(found, image, spec.spacing_mm):
                return None
        with clock.stage("back to the CT grid"):
            progress("back to the CT grid", 0.0)
            box = _box_on_ct(box_of(found), grid, volume.grid)
            on_ct = resample(
                probability.cpu(), grid.cropped(looked_at), volume.grid.cropped(box), fill=0.0
            ).numpy()
        with clock.stage("clean"):
            progress("clean", 0.0)
            cleaned = one_liver(on_ct)
            mask = cleaned > 0.5
            if np.count_nonzero(mask) * volume.grid.voxel_ml < SMALLEST_LIVER_ML:
                return None
            if is_too_dark(volume.hu[box][mask]):
                return None
            seen_near = (probability > 0.5).cpu().numpy()
            warnings = liver_warnings(mask, box, volume.grid) + second_object_warnings(
                seen_near, found[looked_at], grid.cropped(looked_at)
            )
        return Liver(cleaned, box, volume.grid, tuple(warnings))

    def _quick_look(self, image: torch.Tensor, progress: Callable[[float], None]) -> torch.Tensor:
        return liver_probability(
            self.network,
            image,
            self.spec.patch,
            precision=self.precision,
            overlap=False,
            progress=progress,
        )


def chosen_device(name: str) -> torch.device:
    """Where to compute; "auto" is a GPU when there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _box_on_ct(liver: Box, grid: Grid, ct_grid: Grid) -> Box:
    """The CT's box that holds the liver's, one model voxel wider on every side."""
    low, high = [part.start - 1.5 for part in liver], [part.stop + 0.5 for part in liver]
    corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1).T
    index = ct_grid.to_index(grid.to_mm(corners))
    first = np.maximum(np.floor(index.min(axis=0)).astype(int), 0)
    last = np.minimum(np.ceil(index.max(axis=0)).astype(int) + 1, ct_grid.shape)
    z, y, x = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return z, y, x
