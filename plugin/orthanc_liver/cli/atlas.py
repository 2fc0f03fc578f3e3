"""orthanc-liver atlas: the study's comparator; needs the extra "evaluation"."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from orthanc_liver.cli.parser import new_command
from orthanc_liver.dicom.roi_choice import ROI_HELP, RoiChoice


def add_to(commands: Any) -> None:
    """Add atlas and its steps to the parser's commands."""
    atlas = new_command(
        commands,
        "atlas",
        "the liver by registration of outlined patients",
        "build --data cases --out library",
    )
    steps = atlas.add_subparsers(required=True, metavar="STEP")
    build = new_command(
        steps, "build", "make a library of outlined patients", "--data cases --out library"
    )
    build.add_argument("--data", type=Path, required=True, help="as for train")
    build.add_argument("--out", type=Path, required=True, help="folder for the library")
    build.add_argument("--roi", nargs="+", default=[], metavar="NAME", help=ROI_HELP)
    build.set_defaults(run=_build)
    segment = new_command(
        steps,
        "segment",
        "outline the liver of one CT by the library",
        "ct --library library --out liver.nii.gz",
    )
    segment.add_argument("input", type=Path, help="as for segment")
    segment.add_argument("--series", default="", metavar="UID", help="as for segment")
    segment.add_argument("--library", type=Path, required=True, help="what build wrote")
    segment.add_argument("--out", type=Path, required=True, help="the mask, a .nii.gz file")
    segment.set_defaults(run=_segment)
    leave = new_command(
        steps,
        "leave-one-out",
        "outline each of its patients by the others",
        "--data cases --library library --out masks",
    )
    leave.add_argument("--data", type=Path, required=True, help="what the library was made of")
    leave.add_argument("--library", type=Path, required=True, help="what build wrote")
    leave.add_argument("--out", type=Path, required=True, help="folder for the masks")
    leave.add_argument("--roi", nargs="+", default=[], metavar="NAME", help="as for build")
    leave.set_defaults(run=_leave_one_out)


def _build(options: argparse.Namespace) -> None:
    from liver_unet.atlas.library import build_library
    from orthanc_liver.dicom.training_cases import prepared

    data = prepared(options.data, options.out / "dicom", RoiChoice.of(options.roi))
    count = build_library(data, options.out / "atlases")
    sys.stdout.write(f"{count} atlases\n")


def _segment(options: argparse.Namespace) -> None:
    import numpy as np

    from liver_unet.atlas.library import read_library
    from liver_unet.atlas.vote import outline
    from liver_unet.nifti import write_nifti
    from orthanc_liver.dicom.ct_folder import read_ct

    ct = read_ct(options.input, options.series)
    for warning in ct.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    grid = ct.volume.grid
    mask = outline(ct.volume, read_library(options.library / "atlases"))
    write_nifti(options.out, mask.astype(np.uint8), grid)
    sys.stdout.write(f"liver: {np.count_nonzero(mask) * grid.voxel_ml:.1f} mL\n")


def _leave_one_out(options: argparse.Namespace) -> None:
    from liver_unet.atlas.leave_one_out import leave_one_out
    from orthanc_liver.dicom.training_cases import prepared

    data = prepared(options.data, options.library / "dicom", RoiChoice.of(options.roi))
    leave_one_out(data, options.library / "atlases", options.out)
