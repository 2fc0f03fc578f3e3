"""The command line's evaluate and atlas, which need the extra "evaluation".

What needs it is imported when a command runs, so that the others do without.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from liver_unet.nifti import write_nifti
from liver_unet.weights import default_weights
from orthanc_liver.liver_errors import LiverError


class ExtraMissing(LiverError):
    """A library of the extra is not installed."""


def add_to(commands: Any) -> None:
    """Add evaluate and atlas to the parser's commands."""
    evaluation = commands.add_parser("evaluate", help="measure contours on your own cases")
    evaluation.add_argument(
        "--cases", type=Path, required=True, help="CSV: case, ct, reference and at will more"
    )
    evaluation.add_argument("--out", type=Path, required=True, help="folder for the report")
    evaluation.add_argument("--weights", type=Path, default=default_weights())
    evaluation.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    evaluation.add_argument("--jobs", type=_count, default=1, help="cases measured side by side")
    evaluation.add_argument(
        "--other-name", default="other", help='what the column "other" holds, such as "atlas"'
    )
    evaluation.add_argument(
        "--without-network", action="store_true", help='measure the column "other" alone'
    )
    evaluation.set_defaults(run=_evaluate)
    atlas = commands.add_parser("atlas", help="the liver by registration of outlined patients")
    steps = atlas.add_subparsers(required=True, metavar="STEP")
    build = steps.add_parser("build", help="make a library of outlined patients")
    build.add_argument("--data", type=Path, required=True, help="as for train")
    build.add_argument("--out", type=Path, required=True, help="folder for the library")
    build.set_defaults(run=_build)
    segment = steps.add_parser("segment", help="outline the liver of one CT by the library")
    segment.add_argument("input", type=Path, help="a folder of one DICOM CT series, or a NIfTI CT")
    segment.add_argument("--library", type=Path, required=True, help="what build wrote")
    segment.add_argument("--out", type=Path, required=True, help="the mask, a .nii.gz file")
    segment.set_defaults(run=_segment)
    leave = steps.add_parser("leave-one-out", help="outline each of its patients by the others")
    leave.add_argument("--data", type=Path, required=True, help="what the library was made of")
    leave.add_argument("--library", type=Path, required=True, help="what build wrote")
    leave.add_argument("--out", type=Path, required=True, help="folder for the masks")
    leave.set_defaults(run=_leave_one_out)


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("give 1 or more")
    return count


def _evaluate(options: argparse.Namespace) -> None:
    with _Extra():
        from orthanc_liver.evaluation.evaluate import evaluate  # noqa: PLC0415
        from orthanc_liver.evaluation.run import Network  # noqa: PLC0415
    network = None if options.without_network else Network(options.weights, options.device)
    results = evaluate(options.cases, options.out, network, options.jobs, options.other_name)
    for one in results:
        if "reason" in one:
            sys.stderr.write(f"failed: {one['case']}: {one['reason']}\n")
    sys.stdout.write(f"{options.out / 'report.html'}\n")


def _build(options: argparse.Namespace) -> None:
    with _Extra():
        from liver_unet.atlas.library import build_library  # noqa: PLC0415
    from orthanc_liver.dicom.training_cases import prepared  # noqa: PLC0415

    count = build_library(prepared(options.data, options.out / "dicom"), options.out / "atlases")
    sys.stdout.write(f"{count} atlases\n")


def _segment(options: argparse.Namespace) -> None:
    with _Extra():
        from liver_unet.atlas.library import read_library  # noqa: PLC0415
        from liver_unet.atlas.vote import outline  # noqa: PLC0415
    from orthanc_liver.evaluation.measure import read_ct  # noqa: PLC0415

    volume = read_ct(options.input)
    mask = outline(volume, read_library(options.library / "atlases"))
    write_nifti(options.out, mask.astype(np.uint8), volume.grid)
    sys.stdout.write(f"liver: {np.count_nonzero(mask) * volume.grid.voxel_ml:.1f} mL\n")


def _leave_one_out(options: argparse.Namespace) -> None:
    with _Extra():
        from liver_unet.atlas.leave_one_out import leave_one_out  # noqa: PLC0415
    from orthanc_liver.dicom.training_cases import prepared  # noqa: PLC0415

    data = prepared(options.data, options.library / "dicom")
    leave_one_out(data, options.library / "atlases", options.out)


class _Extra:
    """Says what to install where an import of the extra fails."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, ModuleNotFoundError):
            raise ExtraMissing(
                f"{error.name} is not installed: pip install 'orthanc-liver[evaluation]'"
            ) from error
