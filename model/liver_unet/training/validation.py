"""A network's answer for one case against its truth, on the CT's own grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import nn

from liver_unet.inference import fastest_precision, liver_probability
from liver_unet.liver import is_liver
from liver_unet.metrics import dice
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
    mask = is_liver(resample(probability, grid, case.ct.grid, fill=0.0).numpy())
    volume_ratio = float(np.count_nonzero(mask) / np.count_nonzero(case.liver))
    truth = torch.from_numpy(case.liver.astype(np.float32))
    truth_there = is_liver(resample(truth, case.ct.grid, grid, fill=0.0).numpy())
    picture = overlay(image.numpy(), truth_there, is_liver(probability.numpy()))
    return Score(case.name, dice(mask, case.liver), volume_ratio, picture)
