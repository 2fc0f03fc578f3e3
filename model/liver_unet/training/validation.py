"""A network's answer for one case against its truth, on the CT's own grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import nn

from liver_unet.inference import fastest_precision, liver_probability
from liver_unet.preprocess import to_model_input
from liver_unet.resample import resample
from liver_unet.training.cases import Case
from liver_unet.training.config import TrainingConfig
from liver_unet.training.pictures import overlay


@dataclass(frozen=True, eq=False)
class Score:
    """DSC = 2|A n B| / (|A| + |B|) and volume ratio |A| / |B|, A the network's, B the truth."""

    name: str
    dsc: float
    volume_ratio: float
    picture: Image.Image


def validate(network: nn.Module, case: Case, config: TrainingConfig) -> Score:
    """Score the network's mask before any cleaning; the picture shows where it is most wrong."""
    device = next(network.parameters()).device
    image, grid = to_model_input(case.ct, config.spacing_mm, config.window_hu)
    probability = liver_probability(
        network, image.to(device), config.patch, precision=fastest_precision(device)
    ).cpu()
    mask = resample(probability, grid, case.ct.grid, fill=0.0).numpy() > 0.5
    both, found, true = (float(np.count_nonzero(m)) for m in (mask & case.liver, mask, case.liver))
    truth = torch.from_numpy(case.liver.astype(np.float32))
    truth_there = resample(truth, case.ct.grid, grid, fill=0.0).numpy() > 0.5
    picture = overlay(image.numpy(), truth_there, probability.numpy() > 0.5)
    return Score(case.name, 2 * both / (found + true), found / true, picture)
