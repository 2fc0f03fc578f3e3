"""orthanc-liver segment: the liver of one CT, or of many, without Orthanc."""

from __future__ import annotations

import argparse
import sys
from functools import cache
from pathlib import Path
from typing import Any

from orthanc_liver.cli.exit_status import NO_LIVER, SOME_FAILED
from orthanc_liver.cli.networks import segmenter_of
from orthanc_liver.cli.outlining import OneCt, Outlining
from orthanc_liver.cli.parser import add_device, add_weights, new_command
from orthanc_liver.cli.progress import TerminalProgress
from orthanc_liver.cli.result_folder import ResultFolder
from orthanc_liver.engine.protocol import Outcome


def add_to(commands: Any) -> None:
    """Add segment to the parser's commands."""
    segment = new_command(
        commands, "segment", "outline the liver of CT, without Orthanc", "ct --out result"
    )
    given = segment.add_mutually_exclusive_group(required=True)
    given.add_argument(
        "input", type=Path, nargs="?", help="a folder or zip file of DICOM CT, or a NIfTI file"
    )
    given.add_argument(
        "--list",
        type=Path,
        metavar="STUDIES",
        help="many: a folder that holds such inputs, or a CSV file with the columns case, ct and, "
        "if need be, series; what is in --out already is not computed again",
    )
    segment.add_argument(
        "--series", default="", metavar="UID", help="which CT series, where there are several"
    )
    segment.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the results")
    add_device(segment)
    add_weights(segment)
    segment.add_argument(
        "--minimum-slices",
        type=int,
        metavar="N",
        help="CT of fewer images are refused (default: 10)",
    )
    segment.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    return _many(options) if options.list else _one(options)


def _one(options: argparse.Namespace) -> int:
    out = ResultFolder(options.out, options.input)
    ct = OneCt(options.input, options.series, _min_slices(options))
    with TerminalProgress() as progress:
        summary = Outlining(lambda: segmenter_of(options), progress.show).outline(ct, out)
    for warning in summary["warnings"]:
        sys.stderr.write(f"warning: {warning}\n")
    if "no_liver" in summary:
        sys.stdout.write(f"{Outcome.NO_LIVER}: {summary['no_liver']['reason']}\n")
        return NO_LIVER
    sys.stdout.write(f"liver: {summary['liver_ml']:.1f} mL\n")
    return 0


def _many(options: argparse.Namespace) -> int:
    from orthanc_liver.cli.outlining_many import TABLE, check_places, outline_all, studies_in
    from orthanc_liver.evaluation.case_list import CaseListRefused

    if options.series:
        raise CaseListRefused("--series is for one CT: in a list the column series names it")
    check_places(options.list, options.out)
    studies = studies_in(options.list, _min_slices(options))
    segmenter = cache(lambda: segmenter_of(options))
    with TerminalProgress(len(studies)) as progress:
        rows = outline_all(studies, options.out, segmenter, progress)
    sys.stdout.write(f"{options.out / TABLE}\n")
    return SOME_FAILED if any(row.is_unanswered for row in rows) else 0


def _min_slices(options: argparse.Namespace) -> int:
    from liver_unet.ct_nifti import MINIMUM_SLICES

    return options.minimum_slices or MINIMUM_SLICES
