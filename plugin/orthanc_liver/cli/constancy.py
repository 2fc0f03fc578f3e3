"""orthanc-liver constancy: whether livers are outlined as they were when it was accepted."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from orthanc_liver.cli.exit_status import SOME_FAILED
from orthanc_liver.cli.networks import segmenter_of
from orthanc_liver.cli.parser import add_device, add_weights, new_command

_VOLUME_PERCENT, _DSC = 0.5, 0.998


def add_to(commands: Any) -> None:
    """Add constancy to the parser's commands."""
    constancy = new_command(
        commands,
        "constancy",
        "outline the same CT as at acceptance, and compare",
        "--record constancy",
    )
    constancy.add_argument(
        "--record", type=Path, required=True, metavar="DIR", help="the record of acceptance"
    )
    constancy.add_argument(
        "--accept", action="store_true", help="make that record, of the installation as it is"
    )
    constancy.add_argument(
        "--cases",
        type=Path,
        metavar="STUDIES",
        help="with --accept: your own CT, as for segment --list; without, a made-up patient",
    )
    constancy.add_argument(
        "--volume-percent",
        type=float,
        default=_VOLUME_PERCENT,
        metavar="P",
        help="how far a volume may be from that of acceptance, in percent",
    )
    constancy.add_argument(
        "--dsc",
        type=float,
        default=_DSC,
        metavar="D",
        help="the lowest DSC allowed with its outline",
    )
    add_device(constancy)
    add_weights(constancy)
    constancy.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from orthanc_liver.cli.constancy_check import Limits, NoConstancy, accept, check

    if options.cases and not options.accept:
        raise NoConstancy("--cases goes with --accept: the record names the CT that were accepted")
    segmenter = segmenter_of(options)
    if options.accept:
        for told in accept(options.record, options.cases, segmenter):
            sys.stdout.write(f"{told}\n")
        return 0
    limits = Limits(options.volume_percent, options.dsc)
    page, compared = check(options.record, segmenter, limits)
    for one in compared:
        sys.stdout.write(f"{one.case}: {one.words}\n")
    sys.stdout.write(f"{page}\n")
    return SOME_FAILED if any(one.fault for one in compared) else 0
