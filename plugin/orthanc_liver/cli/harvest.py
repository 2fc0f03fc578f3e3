"""orthanc-liver harvest: outlines that came back, as cases without the patient."""

from __future__ import annotations

import argparse
import sys
import urllib.error
from pathlib import Path
from typing import Any

from orthanc_liver.cli.exit_status import SOME_FAILED
from orthanc_liver.cli.parser import new_command
from orthanc_liver.cli.rest import Rest, add_user, user_and_password

_TIMEOUT_S = 120.0


def add_to(commands: Any) -> None:
    """Add harvest to the parser's commands."""
    harvesting = new_command(
        commands,
        "harvest",
        "write CT whose outlines came back as cases for train, evaluate and calibrate",
        "--orthanc http://localhost:8042 --out harvest",
    )
    harvesting.add_argument(
        "--orthanc", required=True, metavar="URL", help="where Orthanc with the plugin answers"
    )
    harvesting.add_argument("--out", type=Path, required=True, help="a folder, new but for --prune")
    harvesting.add_argument(
        "--prune",
        action="store_true",
        help="--out is an earlier harvest: delete the cases that Orthanc has no comparison of "
        "any more, because the study or the figures were deleted",
    )
    add_user(harvesting)
    harvesting.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from orthanc_liver.evaluation.harvest import HarvestRefused, harvest, prune

    rest = Rest(options.orthanc, user_and_password(options.user))

    def get(path: str) -> bytes:
        try:
            return rest.get(path, _TIMEOUT_S)
        except urllib.error.HTTPError as error:
            hint = ": give --user, and the password in ORTHANC_PASSWORD"
            why = f"{path} answers {error.code}{hint if error.code == 401 else ''}"
        except (OSError, ValueError) as error:
            why = f"{options.orthanc} does not answer ({getattr(error, 'reason', error)})"
        raise HarvestRefused(why)

    if options.prune:
        gone = prune(get, options.out)
        sys.stdout.write(f"{len(gone)} cases deleted from {options.out}\n")
        return 0
    cases, left_out = harvest(get, options.out)
    for one in left_out:
        sys.stderr.write(f"left out: series {one.series}: {one.reason}\n")
    sys.stdout.write(f"{len(cases)} cases in {options.out}\n")
    return SOME_FAILED if left_out or not cases else 0
