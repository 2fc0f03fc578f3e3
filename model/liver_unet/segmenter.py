"""The liver of one CT, from its HU to a probability on its own grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from liver_unet.inference import Patches, fastest_precision, liver_probability
from liver_unet.liver import NOTHING_SEEN, Liver, NoLiver
from liver_unet.localise import coarse_localisation, fine_localisation
from liver_unet.network import for_inference
from liver_unet.postprocess import SMALLEST_LIVER_ML, Found, outline
from liver_unet.preprocess import to_model_input
from liver_unet.stages import Stages
from liver_unet.volume import Volume
from liver_unet.weights import ModelSpec, load_model

# Coarse localisation sees most of a liver; what it sees less than this of is none.
_LEAST_SEEN_ML = SMALLEST_LIVER_ML / 4


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A loaded model on its device.

    on_cpu: of one on a GPU, the same model on the CPU, from the start: a full GPU cannot even give
    its weights back.
    """

    network: nn.Module
    spec: ModelSpec
    device: torch.device
    precision: torch.dtype
    on_cpu: Segmenter | None = None

    @classmethod
    def load(cls, weights: Path, device: str = "auto") -> Segmenter:
        """device: "auto" (a GPU when there is one), "cpu" or "cuda"."""
        chosen = chosen_device(device)
        on_cpu = cls._load_on_cpu(weights)
        if chosen.type == "cpu":
            return on_cpu
        precision = fastest_precision(chosen)
        network, spec = load_model(weights, chosen)
        return cls(for_inference(network, precision), spec, chosen, precision, on_cpu)

    @classmethod
    def _load_on_cpu(cls, weights: Path) -> Segmenter:
        """In float32 as OpenVINO's graph, where the weights have one; else in torch."""
        cpu = torch.device("cpu")
        precision = fastest_precision(cpu)
        network, spec = load_model(weights, cpu)
        if precision == torch.float32 and spec.graph_sha256:
            # Its import takes half a second.
            from liver_unet.graph import load_graph  # noqa: PLC0415

            network = load_graph(weights, spec, torch.get_num_threads())
        else:
            network = for_inference(network, precision)
        return cls(network, spec, cpu, precision)

    @property
    def runtime(self) -> str:
        """Which library computes, with its version."""
        return str(getattr(self.network, "runtime", f"torch {torch.__version__}"))

    def warm_up(self) -> None:
        """Run one patch, so that the first patient does not wait for what that prepares."""
        patch = torch.ones(self.spec.patch, device=self.device)
        liver_probability(self.network, patch, self.spec.patch, precision=self.precision)

    def segment(self, volume: Volume, stages: Stages) -> Liver | NoLiver:
        """Return the liver, or why the scan shows none."""
        spec = self.spec
        with stages("resample"):
            image, grid = to_model_input(volume, spec.spacing_mm, spec.window_hu)
            image = image.to(self.device)
        with stages("localise") as at:
            seen = coarse_localisation(self.network, image, spec.patch, self.precision, at)
            seen_ml = float(np.count_nonzero(seen)) * grid.voxel_ml
        if seen_ml < _LEAST_SEEN_ML:
            return NoLiver(NOTHING_SEEN, seen_ml)
        with stages("infer") as at:
            patches = Patches(self.network, image, spec.patch, precision=self.precision)
            probability, box, mask = fine_localisation(patches, seen, at)
        if not mask.any():
            return NoLiver("what coarse localisation saw is none on closer inspection", seen_ml)
        return outline(Found(image, grid, probability, box, mask), volume, stages)


def chosen_device(name: str) -> torch.device:
    """Where to compute; "auto" is a GPU when there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
