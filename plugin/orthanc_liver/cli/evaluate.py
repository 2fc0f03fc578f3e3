"""orthanc-liver evaluate: contours against reference contours; needs the extra "evaluation"."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orthanc_liver.cli.drawing import drawing_into
from orthanc_liver.cli.exit_status import SOME_FAILED
from orthanc_liver.cli.parser import add_device, add_weights, new_command
from orthanc_liver.dicom.roi_choice import ROI_HELP


def add_to(commands: Any) -> None:
    """Add evaluate to the parser's commands."""
    evaluation = new_command(
        commands,
        "evaluate",
        "measure contours on your own cases",
        "--cases cases.csv --out evaluation --jobs 2",
    )
    evaluation.add_argument(
        "--cases", type=Path, required=True, help="CSV: case, ct, reference, optionally more"
    )
    evaluation.add_argument("--out", type=Path, required=True, help="folder for the report")
    add_weights(evaluation)
    add_device(evaluation)
    evaluation.add_argument("--jobs", type=_count, default=1, help="cases measured side by side")
    evaluation.add_argument(
        "--other-name", default="other", help='what the column "other" holds, such as "atlas"'
    )
    evaluation.add_argument(
        "--without-network", action="store_true", help='measure the column "other" alone'
    )
    evaluation.add_argument(
        "--roi",
        nargs="+",
        default=[],
        metavar="NAME",
        help=ROI_HELP + "; the list's roi overrides it",
    )
    evaluation.set_defaults(run=_run)


def _chosen(result: Mapping[str, Any]) -> str:
    other = result["other_outline"]
    return f"reference {result['reference_outline']}" + (f", other {other}" if other else "")


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("give 1 or more")
    return count


def _run(options: argparse.Namespace) -> int:
    with drawing_into(options.out):
        results = _evaluated(options)
    for one in results:
        if "reason" in one:
            sys.stderr.write(f"failed: {one['case']}: {one['reason']}\n")
        else:
            sys.stderr.write(f"measured: {one['case']}: {_chosen(one)}\n")
    sys.stdout.write(f"{options.out / 'report.html'}\n")
    return SOME_FAILED if any("reason" in one for one in results) else 0


def _evaluated(options: argparse.Namespace) -> list[dict[str, Any]]:
    from liver_unet.weights import default_weights
    from orthanc_liver.evaluation.evaluate import evaluate
    from orthanc_liver.evaluation.run import Network

    weights = options.weights or default_weights()
    network = None if options.without_network else Network(weights, options.device)
    return evaluate(
        options.cases, options.out, network, options.jobs, options.other_name, options.roi
    )
