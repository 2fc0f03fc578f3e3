"""The command line: segment and activity, and for researchers the other commands.

A command imports what it computes with only when it runs, so that --help and the like are quick.
"""

from __future__ import annotations

import argparse
import sys

from liver_unet.model_errors import ModelError
from orthanc_liver import __version__
from orthanc_liver.cli import activity, atlas, calibrate, evaluate, export, segment, train
from orthanc_liver.liver_errors import LiverError

# 2 is argparse's, for words that it does not understand.
REFUSED = 3
_COMMANDS = (segment, activity, train, calibrate, export, evaluate, atlas)
# What the extra "evaluation" installs, and everything else does without.
_EXTRA = ("SimpleITK", "jinja2", "matplotlib")


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; return 0, or 3 with one sentence on standard error for refused input."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (LiverError, ModelError) as refusal:
        sys.stderr.write(f"orthanc-liver: {refusal}\n")
        return REFUSED
    except ModuleNotFoundError as missing:
        if missing.name not in _EXTRA:
            raise
        sys.stderr.write(
            f"orthanc-liver: {missing.name} is not installed: "
            "pip install 'orthanc-liver[evaluation]'\n"
        )
        return REFUSED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="orthanc-liver",
        description="Outlines the liver on CT. For review by a physician; not a medical device.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_to(commands)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
