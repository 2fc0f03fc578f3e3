"""The published recipe's patches: MONAI's transforms on cached cases.

The bounding-box crop keeps the box of all that is denser than the window's lower bound: the body
and the table. It needs no truth, so it has an exact counterpart at inference, where patches that
hold nothing but air are skipped (inference.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from liver_unet.liver import LIVER, is_liver
from liver_unet.model_errors import TrainingRefused
from liver_unet.preprocess import to_model_input
from liver_unet.resample import resample
from liver_unet.training.cases import read_case
from liver_unet.training.config import TrainingConfig
from liver_unet.training.layouts import CaseFiles
from liver_unet.training.patches import Sample
from liver_unet.without_pictures import without_pictures

with without_pictures():
    from monai.data.dataset import CacheDataset
    from monai.transforms.compose import Compose
    from monai.transforms.croppad.dictionary import (
        CropForegroundd,
        RandCropByPosNegLabeld,
        SpatialPadd,
    )
    from monai.transforms.intensity.dictionary import RandShiftIntensityd
    from monai.transforms.spatial.dictionary import RandFlipd, RandRotated
    from monai.transforms.transform import Transform
    from monai.transforms.utility.dictionary import CastToTyped

# The paper names the kinds of augmentation, not their sizes; these are ours.
_TURN_RAD = float(np.deg2rad(15))
_SHIFT = 0.1
_PROBABILITY = 0.5
_CENTRES = 10_000


class MonaiPatches:
    """Patches of cases that lie in memory on the device, where MONAI transforms them."""

    def __init__(
        self, files: Sequence[CaseFiles], config: TrainingConfig, device: torch.device
    ) -> None:
        self._seed = config.seed
        try:
            self._cases = CacheDataset(
                list(files),
                Compose([_Read(config, device), *_transforms(config)]),
                copy_cache=False,  # the first random transform crops, and never writes
                progress=False,
            )
        except RuntimeError as error:  # in which MONAI wraps what a transform raises
            if isinstance(error.__cause__, TrainingRefused):
                raise error.__cause__ from error
            raise

    def __getitem__(self, index: int) -> Sample:
        random = np.random.default_rng((self._seed, index))
        self._cases.transform.set_random_state(int(random.integers(2**32)))
        (patch,) = self._cases[int(random.integers(len(self._cases)))]
        image, liver = patch["image"].as_tensor()[0], patch["label"].as_tensor()[0]
        known = torch.ones_like(liver, dtype=torch.bool)
        return Sample(image, liver.to(torch.uint8), known, frozenset({LIVER}))


def _transforms(config: TrainingConfig) -> list[Any]:
    both = ("image", "label")
    flips = [RandFlipd(both, prob=_PROBABILITY, spatial_axis=axis) for axis in range(3)]
    return [
        CropForegroundd(both, source_key="image", allow_smaller=True),
        SpatialPadd(both, config.patch),
        _RememberCentres(),
        RandCropByPosNegLabeld(
            both, "label", config.patch, fg_indices_key="liver", bg_indices_key="rest"
        ),
        CastToTyped(both, torch.float32),
        *flips,
        RandRotated(
            both,
            range_x=_TURN_RAD,
            range_y=_TURN_RAD,
            range_z=_TURN_RAD,
            prob=_PROBABILITY,
            mode=("bilinear", "nearest"),
            padding_mode="border",
        ),
        RandShiftIntensityd("image", offsets=_SHIFT, prob=_PROBABILITY),
    ]


# MONAI caches the results of its own Transform class only, up to the first random one.
class _Read(Transform):
    """Ours instead of MONAI's loader: training and inference see the very same image."""

    def __init__(self, config: TrainingConfig, device: torch.device) -> None:
        self._config = config
        self._device = device

    def __call__(self, files: CaseFiles) -> dict[str, torch.Tensor]:
        case = read_case(files)
        image, grid = to_model_input(case.ct, self._config.spacing_mm, self._config.window_hu)
        mask = torch.from_numpy(case.liver.astype(np.float32))
        liver = torch.from_numpy(is_liver(resample(mask, case.ct.grid, grid, fill=0.0).numpy()))
        # Half the bytes of float32: 131 cases at 1 mm have to fit into memory.
        held = {"image": image[None].half(), "label": liver[None].to(torch.uint8)}
        return {name: array.to(self._device) for name, array in held.items()}


class _RememberCentres(Transform):
    """Add voxels to centre patches on: searching a whole CT for every patch would take longer."""

    def __call__(self, case: dict[str, torch.Tensor]) -> dict[str, Any]:
        label = case["label"].cpu().numpy().reshape(-1)
        chosen = {}
        for name, inside in (("liver", label > 0), ("rest", label == 0)):
            index = np.flatnonzero(inside)
            chosen[name] = index[:: max(1, len(index) // _CENTRES)]
        return {**case, **chosen}
