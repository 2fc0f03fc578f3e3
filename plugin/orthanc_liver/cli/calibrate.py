"""orthanc-liver calibrate: what the doubt that a result tells has meant on known livers."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from orthanc_liver.cli.parser import add_device, new_command
from orthanc_liver.dicom.roi_choice import ROI_HELP, RoiChoice


def add_to(commands: Any) -> None:
    """Add calibrate to the parser's commands."""
    calibrate = new_command(
        commands,
        "calibrate",
        "measure weights, and what their doubt means, on patients of known liver",
        "--data cases --weights weights/best --out calibration",
    )
    calibrate.add_argument("--data", type=Path, required=True, help="as for train")
    calibrate.add_argument(
        "--weights", type=Path, required=True, help="the weights; their spec takes the calibration"
    )
    calibrate.add_argument(
        "--out", type=Path, required=True, help="folder for outlines.csv; what is there stays"
    )
    calibrate.add_argument("--cases", nargs="+", default=[], metavar="NAME", help="these alone")
    add_device(calibrate)
    calibrate.add_argument("--roi", nargs="+", default=[], metavar="NAME", help=ROI_HELP)
    calibrate.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from liver_unet.calibration import calibrate, table
    from liver_unet.claimed_folder import claimed
    from orthanc_liver.dicom.training_cases import prepared

    with claimed(options.out):
        data = prepared(options.data, options.out / "dicom", RoiChoice.of(options.roi))
        rows, rule = calibrate(data, options.weights, options.out, options.cases, options.device)
    sys.stdout.write(table(rows, rule) + "\n")
    for name, (look, doubtful) in rule.limits.items():
        sys.stdout.write(f"{name}: look from {look:.4f}, doubtful from {doubtful:.4f}\n")
    for grade, (wrong, count) in rule.counts.items():
        sys.stdout.write(f"{grade}: {wrong} of {count} wrong\n")
