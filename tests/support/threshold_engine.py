"""The real inference process around a network that calls certain HU liver: real answers in no time.

A test may let it have trouble with a GPU, which it then claims to have.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import nn

from liver_unet import gpu
from liver_unet.fallback import Loaded
from liver_unet.liver import Liver, NoLiver
from liver_unet.model import Model
from liver_unet.segmenter import Segmenter
from liver_unet.volume import Grid, Volume
from liver_unet.weights import ModelSpec
from orthanc_liver.engine.child_process import end_with_the_other_side, give_way
from orthanc_liver.engine.inference_process import Engine

CHECKOUT = Path(__file__).resolve().parents[2]

Trouble = Literal["", "out of memory", "lost device"]

LIVER_HU = (80.0, 140.0)
SPEC = ModelSpec(
    name="threshold",
    spacing_mm=4.0,
    window_hu=(-200.0, 300.0),
    patch=(16, 32, 32),
    channels=(2, 4),
    classes=2,
    training_data="none",
    accuracy="none",
    licence="none",
    sha256="b" * 64,
)


class Threshold(nn.Module):
    """Liver is what lies between these HU."""

    def __init__(self, liver_hu: tuple[float, float] = LIVER_HU) -> None:
        super().__init__()
        self._liver_hu = liver_hu

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        low, high = SPEC.window_hu
        hu = batch * (high - low) + low
        inside = torch.minimum(hu - self._liver_hu[0], self._liver_hu[1] - hu) / 10
        return torch.cat([-inside, inside], dim=1)


class TroubledSegmenter(Segmenter):
    """On a GPU that is not there, with the trouble that a GPU may have."""

    trouble: Trouble = ""

    def warm_up(self) -> None:
        """Its trouble begins with the first patient."""

    def segment(self, *arguments: Any) -> Liver | NoLiver:
        if self.trouble == "out of memory":
            raise torch.OutOfMemoryError("CUDA out of memory. PatientName Secret^Patient")
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")


class ThresholdEngine:
    """The test's side: the program that Interpreter names, and how often it was started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.interpreter = folder / "python"
        self.interpreter.write_text(
            f'#!/bin/sh\ncd "{CHECKOUT}"\n'
            f'case "$*" in *document_process*) exec "{sys.executable}" "$@" ;; esac\n'
            f'exec "{sys.executable}" -m tests.support.threshold_engine "{folder}" "$@"\n'
        )
        self.interpreter.chmod(0o755)
        self.behave("")

    def behave(self, trouble: Trouble) -> None:
        """Let every process that starts from now on have this trouble."""
        (self._folder / "trouble.json").write_text(json.dumps(trouble))

    def starts(self) -> list[int]:
        """Every process that was started."""
        path = self._folder / "starts.txt"
        return [int(line) for line in path.read_text().split()] if path.exists() else []


def with_liver(shape: tuple[int, int, int] = (24, 40, 50), *, unsure: bool = False) -> Volume:
    """A body of noisy fat in air, with an off-centre ellipsoid of 110 HU that holds 0.8 L.

    unsure: its part towards x < -40 mm is of 84 HU, which is hardly liver any more.
    """
    spacing_mm = np.array([5.0, 4.0, 4.4])
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *spacing_mm, 1
    size_mm = np.array(shape) * spacing_mm
    places = np.indices(shape).transpose(1, 2, 3, 0) * spacing_mm - size_mm / 2
    hu = np.full(shape, -1000, dtype=np.int16)
    fat = (np.abs(places[..., 1:] / (size_mm[1:] * 0.48)) ** 4).sum(axis=-1) < 1
    hu[fat] = np.random.default_rng(6).integers(-104, -96, shape)[fat]
    away = (places - (4.0, -12.0, -20.0)) / (48.0, 55.0, 75.0)
    liver = (away**2).sum(axis=-1) < 1
    hu[liver] = 110
    if unsure:
        hu[liver & (places[..., 2] < -40)] = 84
    return Volume(hu, Grid(shape, affine))


def second_model(weights: Path) -> Segmenter:
    """With a folder of weights: their name, and only the brighter liver."""
    told = json.loads((weights / "liver.json").read_text())
    spec = replace(SPEC, name=told["name"], sha256=told["sha256"])
    bright = Threshold((100.0, LIVER_HU[1]))
    return Segmenter(Model(bright, spec, torch.device("cpu"), torch.float32))


def on_cpu() -> Segmenter:
    """The segmenter without trouble."""
    return Segmenter(Model(Threshold(), SPEC, torch.device("cpu"), torch.float32))


def on_troubled_gpu() -> TroubledSegmenter:
    """The same with its trouble."""
    fine = Model(Threshold(), SPEC, torch.device("cuda"), torch.float32)
    return TroubledSegmenter(fine, on_cpu=on_cpu())


def main(folder: Path, arguments: list[str]) -> None:
    """The process's side."""
    with (folder / "starts.txt").open("a") as file:
        file.write(f"{os.getpid()}\n")
    give_way()
    end_with_the_other_side(0)
    torch.set_num_threads(1)
    segmenter = on_cpu()
    if "--weights" in arguments:
        segmenter = second_model(Path(arguments[arguments.index("--weights") + 1]))
    if trouble := cast(Trouble, json.loads((folder / "trouble.json").read_text())):
        TroubledSegmenter.trouble = trouble
        segmenter = on_troubled_gpu()
        gpu.works = lambda device: trouble != "lost device"
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    Engine(sys.stdin.buffer, outgoing, Loaded(segmenter, str(segmenter.device))).serve()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
