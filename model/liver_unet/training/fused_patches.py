"""The default weights' patches: one resampling carries turn, scale, bend and spacing at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from liver_unet.training.augmentation import (
    add_lesions,
    change_contrast,
    draw_patch,
    scan,
    to_network_input,
)
from liver_unet.training.averaged import averaged_case
from liver_unet.training.cases import read_case
from liver_unet.training.config import TrainingConfig
from liver_unet.training.layouts import CaseFiles

Sample = tuple[torch.Tensor, torch.Tensor, bool]


class FusedPatches(Dataset[Sample]):
    """Endless patches; patch i is the same in every run with the same seed."""

    def __init__(self, files: Sequence[CaseFiles], config: TrainingConfig) -> None:
        self._cases = [averaged_case(read_case(f), config.spacing_mm) for f in files]
        self._config = config

    def __getitem__(self, index: int) -> Sample:
        """Return image (1, z, y, x), classes (1, z, y, x) and whether class 2 is known there."""
        config = self._config
        random = np.random.default_rng((config.seed, index))
        case = self._cases[random.integers(len(self._cases))]
        patch = draw_patch(case, config.patch, config.spacing_mm, random)
        hu = change_contrast(patch, case, random)
        hu = add_lesions(hu, patch.liver, config.spacing_mm, random)
        hu = scan(hu, random)
        image = to_network_input(hu, config.window_hu, random)
        if config.classes == 2:
            return image[None], patch.liver[None].long(), False
        is_neighbour = torch.zeros(max(case.organ_names) + 1, dtype=torch.bool)
        is_neighbour[case.neighbour_numbers] = True
        classes = torch.where(patch.liver > 0, 1, 2 * is_neighbour[patch.organs].long())
        return image[None], classes[None], case.neighbours_known
