"""What a user would build today: MONAI around the same weights, then rt-utils.

Patches are blended as probabilities, as ours are; MONAI would blend logits unless told otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.inferers.utils import sliding_window_inference
from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import ScaleIntensityRanged
from monai.transforms.io.dictionary import LoadImaged
from monai.transforms.post.dictionary import (
    AsDiscreted,
    FillHolesd,
    Invertd,
    KeepLargestConnectedComponentd,
)
from monai.transforms.spatial.dictionary import Orientationd, Spacingd
from monai.transforms.transform import MapTransform
from torch import nn

from liver_unet.stages import Stages
from liver_unet.weights import ModelSpec, default_weights, load_model
from tests.bench.child import measure_rt_utils, tell


@torch.inference_mode()
def main(folder: Path, precision: str) -> None:
    network, spec = load_model(default_weights(), torch.device("cpu"))
    probability = nn.Sequential(network, nn.Softmax(dim=1))
    before = _before(spec)
    stages = Stages()
    item: dict[Hashable, Any] = {"image": str(folder / "ct.nii")}
    for transform in before.transforms:
        with stages(type(transform).__name__.removesuffix("d")):
            item = transform(item)
    with (
        stages("sliding window"),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        prediction = sliding_window_inference(
            item["image"][None], spec.patch, 1, probability, overlap=0.5, mode="gaussian"
        )
    assert isinstance(prediction, MetaTensor)
    item["pred"] = prediction[0].float()
    for transform in _after(before):
        with stages(type(transform).__name__.removesuffix("d")):
            item = transform(item)
    # MONAI's arrays are (column, row, slice) as NIfTI's are.
    mask = np.asarray(item["pred"][0]).transpose(2, 1, 0) == 1
    np.save(folder / "reference.npy", mask)
    written = measure_rt_utils(folder)
    rt_utils_s = {f"rt-utils {stage}": s for stage, s in written.seconds[0].items()}
    tell([stages.seconds | rt_utils_s])


def _before(spec: ModelSpec) -> Compose:
    """The network's axes run to the head, the back and the left: S, P, L."""
    low, high = spec.window_hu
    return Compose(
        [
            LoadImaged("image", image_only=True, ensure_channel_first=True),
            Orientationd("image", axcodes="SPL"),
            Spacingd("image", pixdim=(spec.spacing_mm,) * 3, mode="bilinear"),
            ScaleIntensityRanged("image", low, high, 0.0, 1.0, clip=True),
        ]
    )


def _after(before: Compose) -> list[MapTransform]:
    return [
        Invertd("pred", before, orig_keys="image", nearest_interp=False, to_tensor=True),
        AsDiscreted("pred", argmax=True),
        KeepLargestConnectedComponentd("pred", applied_labels=1),
        FillHolesd("pred", applied_labels=1),
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
