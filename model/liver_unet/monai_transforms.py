"""Our way into the network and out of it as MONAI transforms; an exported bundle carries them.

MONAI's own resampling starts its grid elsewhere and does not average a finer source: a mask made
with it differs from ours by a percent or two.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liver_unet.liver import LIVER, NOTHING_SEEN, Liver, NoLiver, is_liver
from liver_unet.nifti import read_nifti, write_nifti
from liver_unet.postprocess import Found, largest_object, outline
from liver_unet.preprocess import to_model_input
from liver_unet.stages import Stages
from liver_unet.volume import Grid, Volume

Item = dict[str, Any]
_log = logging.getLogger(__name__)


class ReadCt:
    """Replace the path "image" by the network's input (1, slice, row, column); keep the CT."""

    def __init__(self, spacing_mm: float, window_hu: tuple[float, float]) -> None:
        self._spacing_mm = spacing_mm
        self._window_hu = window_hu

    def __call__(self, item: Mapping[str, Any]) -> Item:
        hu, ct_grid = read_nifti(Path(item["image"]))
        image, grid = to_model_input(Volume(hu, ct_grid), self._spacing_mm, self._window_hu)
        return {
            "name": Path(item["image"]).name.removesuffix(".gz").removesuffix(".nii"),
            "image": image[None],
            "affine": torch.from_numpy(grid.affine),
            "hu": torch.from_numpy(hu),
            "ct_affine": torch.from_numpy(ct_grid.affine),
        }


class WriteLiver:
    """Write the class probabilities "pred" as NAME_liver.nii.gz, a mask on the CT's own grid; where
    there is no liver it is empty, and the log says why."""

    def __init__(self, output_dir: str) -> None:
        self._output_dir = Path(output_dir)

    def __call__(self, item: Mapping[str, Any]) -> Item:
        ct = Volume(item["hu"].cpu().numpy(), _grid(item["hu"], item["ct_affine"]))
        mask, found = np.zeros(ct.grid.shape, dtype=np.uint8), _outlined(item, ct)
        path = self._output_dir / f"{item['name']}_liver.nii.gz"
        if isinstance(found, Liver):
            mask[found.box] = found.mask
        else:
            _log.warning("%s is empty: no liver found: %s", path, found.reason)
        self._output_dir.mkdir(parents=True, exist_ok=True)
        write_nifti(path, mask, ct.grid)
        return dict(item)


def _outlined(item: Mapping[str, Any], ct: Volume) -> Liver | NoLiver:
    probability = item["pred"][LIVER].float().cpu()
    mask = largest_object(is_liver(probability.numpy()))
    if not mask.any():
        return NoLiver(NOTHING_SEEN, 0.0)
    grid = _grid(probability, item["affine"])
    z, y, x = (slice(0, n) for n in grid.shape)
    return outline(Found(item["image"][0].cpu(), grid, probability, (z, y, x), mask), ct, Stages())


def _grid(array: torch.Tensor, affine: torch.Tensor) -> Grid:
    z, y, x = array.shape
    return Grid((z, y, x), affine.cpu().numpy())
