"""orthanc-liver doctor: whether an installation is whole, and what to fix."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from orthanc_liver.cli.exit_status import SOME_FAILED
from orthanc_liver.cli.parser import new_command
from orthanc_liver.cli.rest import add_user, user_and_password

_MEMINFO = Path("/proc/meminfo")


def add_to(commands: Any) -> None:
    """Add doctor to the parser's commands."""
    doctor = new_command(
        commands,
        "doctor",
        "check this installation and the Orthanc beside it, and say what to fix",
        "--configuration /etc/orthanc --url http://localhost:8042",
    )
    doctor.add_argument(
        "--configuration",
        type=Path,
        default=Path("/etc/orthanc"),
        metavar="PATH",
        help="what Orthanc is started with, a file or a folder of files",
    )
    doctor.add_argument("--url", default="http://localhost:8042", help="where Orthanc answers")
    add_user(doctor)
    doctor.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from orthanc_liver.cli import checkup
    from orthanc_liver.cli.orthanc_configuration import read_configuration

    configuration = read_configuration(options.configuration)
    settings, found = checkup.look_at_configuration(configuration, options.configuration)
    found += checkup.look_at_weights()
    found += checkup.look_at_engine(settings)
    found += checkup.look_at_memory(settings, _MEMINFO.read_text())
    found += checkup.look_at_disk(configuration)
    found += checkup.Orthanc(options.url, user_and_password(options.user)).look()
    for one in found:
        state = "fix" if one.mend else "ok"
        told = f"{one.seen}: {one.mend}" if one.mend else one.seen
        sys.stdout.write(f"{state:5} {one.about:14} {told}\n")
    return SOME_FAILED if any(one.mend for one in found) else 0
