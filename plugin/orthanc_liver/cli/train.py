"""orthanc-liver train: a network of one's own."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from liver_unet.model_errors import TrainingRefused
from orthanc_liver.cli.drawing import drawing_into
from orthanc_liver.cli.parser import add_device, new_command
from orthanc_liver.dicom.roi_choice import ROI_HELP, RoiChoice


def add_to(commands: Any) -> None:
    """Add train to the parser's commands."""
    training = new_command(
        commands,
        "train",
        "train a network on your own cases",
        "--data cases --out weights --minutes 600",
    )
    training.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="folders of LiTS, Decathlon, a folder a case, DICOM",
    )
    training.add_argument("--out", type=Path, required=True, help="folder for weights and curves")
    training.add_argument(
        "--config", default="fine", help='"fine", "coarse", "published", "tune" or a TOML file'
    )
    length = training.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, help="how long it learns; default: the recipe's")
    length.add_argument("--patches", type=int, help="the same, as a number of patches")
    training.add_argument(
        "--fold", default="0", help='which patients validate: a number, or "all" to learn from all'
    )
    add_device(training)
    training.add_argument(
        "--start", type=Path, help="folder of weights to begin from, of fewer classes too"
    )
    training.add_argument("--roi", nargs="+", default=[], metavar="NAME", help=ROI_HELP)
    training.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    if options.fold != "all" and not options.fold.isdecimal():
        raise TrainingRefused(f'--fold {options.fold}: give a number or "all"')
    from liver_unet.training import ByMinutes, ByPatches, load_config
    from orthanc_liver.dicom.training_cases import train

    recipe = load_config(options.config)
    if options.minutes is not None:
        recipe = replace(recipe, length=ByMinutes(options.minutes))
    if options.patches is not None:
        recipe = replace(recipe, length=ByPatches(options.patches))
    fold = None if options.fold == "all" else int(options.fold)
    roi = RoiChoice.of(options.roi)
    with drawing_into(options.out):
        train(recipe, options.data, options.out, options.device, fold, options.start, roi)
