"""Export the weights as a MONAI bundle: the same liver, run by `python -m monai.bundle run`.

OUT/configs/metadata.json   what the model is
OUT/configs/inference.json  what is run: MONAI's network, sliding window and evaluator
OUT/models/model.pt         the weights as torch wants them
OUT/liver_unet/             our own steps before and after, as source
"""

from __future__ import annotations

import io
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from liver_unet.weights import ModelSpec, load_model
from liver_unet.whole_file import whole_file

# MONAI's own description of what metadata.json must hold.
_SCHEMA = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "meta_schema_20240725.json"
)
# Of the configuration below; which weights it runs is in the changelog.
_VERSION = "1.0.0"
# What `bundle run` needs and we do not: the versions it was tried with.
_RUNS_WITH = {"fire": "0.7.1", "pytorch-ignite": "0.5.5"}
_NEEDS = ("connected-components-3d", "fill-voids", "nibabel")
_SOURCES = (
    "__init__",
    "grade",
    "liver",
    "monai_transforms",
    "nifti",
    "postprocess",
    "preprocess",
    "resample",
    "skull",
    "stages",
    "volume",
)

JsonDict = dict[str, Any]


def export_bundle(weights: Path, out: Path) -> None:
    """Write a bundle of the model in `weights`; raises WeightsRefused.

    Run it in OUT, where its source is found, with --dataset_dir and --output_dir:
    python -m monai.bundle run --config_file configs/inference.json
    """
    network, spec = load_model(weights, torch.device("cpu"))
    for folder in ("configs", "models", "liver_unet"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    for name in _SOURCES:
        with whole_file(out / "liver_unet" / f"{name}.py") as part:
            shutil.copy(Path(__file__).with_name(f"{name}.py"), part)
    weights_file = io.BytesIO()
    torch.save(network.state_dict(), weights_file)
    with whole_file(out / "models" / "model.pt") as part:
        part.write_bytes(weights_file.getbuffer())
    for name, content in (("metadata", _metadata(spec)), ("inference", _inference(spec))):
        with whole_file(out / "configs" / f"{name}.json") as part:
            part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _metadata(spec: ModelSpec) -> JsonDict:
    return {
        "schema": _SCHEMA,
        "version": _VERSION,
        "changelog": {_VERSION: f"exported from weights {spec.sha256}"},
        "monai_version": version("monai"),
        "pytorch_version": torch.__version__,
        "numpy_version": version("numpy"),
        "required_packages_version": {
            **{name: version(name) for name in _NEEDS},
            **_RUNS_WITH,
        },
        "name": spec.name,
        "task": "Liver segmentation on CT",
        "description": "Outlines the liver, tumours included, on CT for Y-90 SIRT planning.",
        "authors": "The authors of orthanc-liver",
        "copyright": spec.licence,
        "data_source": spec.training_data,
        "data_type": "nibabel",
        "image_classes": "CT in HU, any orientation and spacing",
        "label_classes": "1 is liver",
        "pred_classes": "1 is liver",
        "eval_metrics": {"summary": spec.accuracy},
        "intended_use": "Research; outlines are for review by a physician",
        "network_data_format": {
            "inputs": {"image": _image_format(spec)},
            "outputs": {"pred": _prediction_format(spec)},
        },
    }


def _image_format(spec: ModelSpec) -> JsonDict:
    return {
        "type": "image",
        "format": "hounsfield",
        "modality": "CT",
        "num_channels": 1,
        "spatial_shape": list(spec.patch),
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": True,
        "channel_def": {"0": "image"},
    }


def _prediction_format(spec: ModelSpec) -> JsonDict:
    names = spec.class_names or ("rest", "liver", *["neighbours"] * (spec.classes - 2))
    return {
        "type": "image",
        "format": "segmentation",
        "num_channels": spec.classes,
        "spatial_shape": list(spec.patch),
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": True,
        "channel_def": {str(n): name for n, name in enumerate(names)},
    }


def _inference(spec: ModelSpec) -> JsonDict:
    return {
        "imports": ["$import glob", "$import os", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$sorted(glob.glob(os.path.join(@dataset_dir, '*.nii*')))",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": _network(spec),
        # Patches are blended as probabilities; blending logits draws another outline.
        "network": "$torch.nn.Sequential(@network_def, torch.nn.Softmax(dim=1)).to(@device)",
        "preprocessing": {
            "_target_": "liver_unet.monai_transforms.ReadCt",
            "spacing_mm": spec.spacing_mm,
            "window_hu": list(spec.window_hu),
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(spec.patch),
            "sw_batch_size": 1,
            "overlap": 0.5,
            "mode": "gaussian",
        },
        "postprocessing": {
            "_target_": "liver_unet.monai_transforms.WriteLiver",
            "output_dir": "@output_dir",
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network_def"},
                "map_location": "@device",
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }


def _network(spec: ModelSpec) -> JsonDict:
    """As network.build_network makes it; dropout is left out, it does nothing at inference."""
    return {
        "_target_": "UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": spec.classes,
        "channels": list(spec.channels),
        "strides": [2] * (len(spec.channels) - 1),
        "num_res_units": 2,
        "act": "LEAKYRELU",
        "norm": "INSTANCE",
    }
