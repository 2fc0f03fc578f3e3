"""orthanc-liver train: a network of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from liver_unet.model_errors import TrainingRefused
from orthanc_liver.dicom.roi_choice import ROI_HELP, RoiChoice


def add_to(commands: Any) -> None:
    """Add train to the parser's commands."""
    training = commands.add_parser("train", help="train a network on your own cases")
    training.add_argument(
        "--data", type=Path, required=True, help="LiTS, Decathlon, a folder a case, DICOM"
    )
    training.add_argument("--out", type=Path, required=True, help="folder for weights and curves")
    training.add_argument(
        "--config", default="published", help='"published", "compact", "fine" or a TOML file'
    )
    training.add_argument(
        "--fold", default="0", help='which patients validate: a number, or "all" to learn from all'
    )
    training.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    training.add_argument("--start", type=Path, help="folder of weights to begin from")
    training.add_argument("--roi", nargs="+", default=[], metavar="NAME", help=ROI_HELP)
    training.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    if options.fold != "all" and not options.fold.isdigit():
        raise TrainingRefused(f'--fold {options.fold}: give a number or "all"')
    from orthanc_liver.dicom.training_cases import train

    fold = None if options.fold == "all" else int(options.fold)
    roi = RoiChoice.of(options.roi)
    train(options.data, options.out, options.config, fold, options.device, options.start, roi)
