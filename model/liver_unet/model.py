"""One network on its device, with the spec that says what it may be shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from liver_unet.inference import Patches, fastest_precision, liver_probability
from liver_unet.network import for_inference
from liver_unet.weights import ModelSpec, load_model


@dataclass(frozen=True, eq=False)
class Model:
    """A network as it is run, in this precision on this device."""

    network: nn.Module
    spec: ModelSpec
    device: torch.device
    precision: torch.dtype

    @classmethod
    def load(cls, weights: Path, device: torch.device) -> Model:
        """On a CPU in float32 as OpenVINO's graph, where the weights have one; else in torch."""
        precision = fastest_precision(device)
        network, spec = load_model(weights, device)
        if device.type == "cpu" and precision == torch.float32 and spec.graph_sha256:
            # Its import takes half a second.
            from liver_unet.graph import load_graph  # noqa: PLC0415

            network = load_graph(weights, spec, torch.get_num_threads())
        else:
            network = for_inference(network, precision, one_at_a_time=device.type == "cpu")
        return cls(network, spec, device, precision)

    @property
    def runtime(self) -> str:
        """Which library computes, with its version."""
        return str(getattr(self.network, "runtime", f"torch {torch.__version__}"))

    def warm_up(self) -> None:
        """Run one patch, so that the first patient does not wait for what that prepares."""
        self.probability(torch.ones(self.spec.patch, device=self.device))

    def patches(self, image: torch.Tensor) -> Patches:
        """Of an image at the spec's spacing: computed as they are asked for."""
        return Patches(self.network, image, self.spec.patch, precision=self.precision)

    def probability(self, image: torch.Tensor) -> torch.Tensor:
        """P(liver) on all of an image."""
        return liver_probability(self.network, image, self.spec.patch, precision=self.precision)
