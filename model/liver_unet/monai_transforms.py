"""Our way into the network and out of it as MONAI transforms; an exported bundle carries them.

MONAI's own resampling starts its grid elsewhere and does not average a finer source: a mask made
with it differs from ours by a percent or two.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liver_unet.nifti import read_nifti, write_nifti
from liver_unet.postprocess import one_liver
from liver_unet.preprocess import to_model_input
from liver_unet.resample import resample
from liver_unet.volume import Grid, Volume

Item = dict[str, Any]


class ReadCt:
    """Replace the path "image" by the network's input (1, slice, row, column); keep both grids."""

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
            "ct_affine": torch.from_numpy(ct_grid.affine),
            "ct_shape": torch.tensor(ct_grid.shape),
        }


class WriteLiver:
    """Write the class probabilities "pred" as NAME_liver.nii.gz, a mask on the CT's own grid."""

    def __init__(self, output_dir: str) -> None:
        self._output_dir = Path(output_dir)

    def __call__(self, item: Mapping[str, Any]) -> Item:
        probability = torch.as_tensor(item["pred"])[1].float().cpu()
        z, y, x = probability.shape
        slices, rows, columns = (int(n) for n in item["ct_shape"])
        ct_grid = Grid((slices, rows, columns), np.asarray(item["ct_affine"].cpu()))
        grid = Grid((z, y, x), np.asarray(item["affine"].cpu()))
        on_ct = resample(probability, grid, ct_grid, fill=0.0).numpy()
        mask = (one_liver(on_ct) > 0.5).astype(np.uint8)
        self._output_dir.mkdir(parents=True, exist_ok=True)
        write_nifti(self._output_dir / f"{item['name']}_liver.nii.gz", mask, ct_grid)
        return dict(item)
