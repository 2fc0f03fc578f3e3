"""Endless training patches: of which case, drawn how, and what of each is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from liver_unet.training.augmentation import Augmentation
from liver_unet.training.cases import read_case
from liver_unet.training.chance import Chance
from liver_unet.training.config import TrainingConfig
from liver_unet.training.contrast import change_contrast
from liver_unet.training.fluid import add_ascites, fill_chest, fill_stomach
from liver_unet.training.geometry import Patch, draw_patch
from liver_unet.training.held import HeldCase, held_case
from liver_unet.training.layouts import CaseFiles
from liver_unet.training.lesions import add_lesions, add_mass
from liver_unet.training.patients import patient_of
from liver_unet.training.scanner import scan, to_network_input
from liver_unet.training.shares import chances
from liver_unet.training.tissues import LUNG, REST


@dataclass(frozen=True, eq=False)
class Sample:
    """(slice, row, column) image 0..1, class of each voxel, and where the class is known.

    outlined: the classes that somebody drew in this case; the others may hide in rest.
    """

    image: torch.Tensor
    classes: torch.Tensor
    known: torch.Tensor
    outlined: frozenset[int]


class Patches(Protocol):
    """Patch i is the same in every run with the same seed."""

    def __getitem__(self, index: int) -> Sample: ...


class PaintedPatches:
    """Patches of cases that lie in memory on the device, where they are drawn and painted."""

    def __init__(
        self, files: Sequence[CaseFiles], config: TrainingConfig, device: torch.device
    ) -> None:
        self._config = config
        self._cases = {
            one.name: held_case(read_case(one), config.spacing_mm, config.reach_mm, device)
            for one in files
        }
        self._names, self._chances = _chances(self._cases, config)

    @torch.no_grad()
    def __getitem__(self, index: int) -> Sample:
        config, numbers = self._config, self._config.augmentation
        name, chance = self._chosen(index)
        patch = draw_patch(self._cases[name], config.patch, config.spacing_mm, numbers, chance)
        paint(patch, numbers, chance)
        scan(patch, numbers, chance)
        image = to_network_input(patch, config.window_hu, numbers, chance)
        classes = patch.tissue.masked_fill(patch.tissue >= LUNG, REST)
        return Sample(image, classes, patch.known, patch.case.outlined)

    def _chosen(self, index: int) -> tuple[str, Chance]:
        device = next(iter(self._cases.values())).device
        chance = Chance((self._config.seed, index), device)
        return str(chance.numbers.choice(self._names, p=self._chances)), chance


def paint(patch: Patch, numbers: Augmentation, chance: Chance) -> None:
    """Change what is in the body, before a scanner sees it."""
    for painter in (
        change_contrast,
        fill_stomach,
        add_lesions,
        add_mass,
        fill_chest,
        add_ascites,
    ):
        painter(patch, numbers, chance)


def _chances(cases: Mapping[str, HeldCase], config: TrainingConfig) -> tuple[list[str], np.ndarray]:
    patients = {name: patient_of(name, config.same_patient) for name in cases}
    found = chances(cases, patients, config.shares)
    return list(found), np.array(list(found.values()))
