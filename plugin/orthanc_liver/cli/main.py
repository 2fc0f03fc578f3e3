"""The command line: segment and activity, and for researchers the other commands.

A command imports what it computes with only when it runs, so that --help and the like are quick.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import shtab

from liver_unet.model_errors import ModelError
from orthanc_liver import __version__
from orthanc_liver.cli import (
    activity,
    atlas,
    calibrate,
    constancy,
    doctor,
    evaluate,
    export,
    harvest,
    segment,
    train,
    worker,
)
from orthanc_liver.cli.about import about
from orthanc_liver.cli.exit_status import REFUSED, STOPPED
from orthanc_liver.engine.cores import usable_cores
from orthanc_liver.liver_errors import LiverError

_COMMANDS = (
    segment,
    activity,
    train,
    calibrate,
    export,
    evaluate,
    harvest,
    atlas,
    constancy,
    doctor,
    worker,
)
# What an extra installs, and everything else does without.
_EXTRAS = {
    **dict.fromkeys(("SimpleITK", "jinja2", "matplotlib"), "evaluation"),
    **dict.fromkeys(("amqp", "celery", "kombu"), "cluster"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; return its exit status, and say why where it did not do its work."""
    options = _parser().parse_args(arguments)
    _keep_to_quota()
    with _noting_interrupts() as interrupts:
        try:
            return _run(options)
        except BaseException:
            # Libraries make an error of their own of what interrupts their import.
            if interrupts:
                return _ended(STOPPED, "stopped")
            raise


def _run(options: argparse.Namespace) -> int:
    try:
        return int(options.run(options) or 0)
    except (LiverError, ModelError) as refusal:
        return _ended(REFUSED, str(refusal))
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _ended(REFUSED, f"{place}{error.strerror or error}")
    except ModuleNotFoundError as missing:
        if missing.name not in _EXTRAS:
            raise
        return _ended(REFUSED, _how_to_install(missing.name, _EXTRAS[missing.name]))


def _how_to_install(library: str, extra: str) -> str:
    """No registry has orthanc-liver: it comes from a checkout or from a wheel's file."""
    install = (
        f"{sys.executable} -m pip install --constraint constraints.txt --editable '.[{extra}]'"
    )
    wheel = f"install 'orthanc_liver-{__version__}-py3-none-any.whl[{extra}]'"
    return f"{library} is not installed: in the checkout run {install}; of a wheel, {wheel}"


def _ended(status: int, sentence: str) -> int:
    sys.stderr.write(f"orthanc-liver: {sentence}\n")
    return status


@contextmanager
def _noting_interrupts() -> Iterator[list[int]]:
    """Yield a list that is not empty once Ctrl-C was pressed."""
    noted: list[int] = []

    def interrupt(number: int, _: object) -> None:
        noted.append(number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield noted  # where a shell ignores it for what runs in the background
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _keep_to_quota() -> None:
    """Libraries count a machine's cores, not what a container may use of them."""
    cores = usable_cores()
    if cores < len(os.sched_getaffinity(0)):
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        sys.stdout.write(about() + "\n")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="orthanc-liver",
        description="Outlines the liver on CT. For review by a physician; not a medical device.",
        epilog="exit status: 0 done, 1 some cases without an answer, 2 wrong arguments, 3 refused, "
        "4 no liver found, 130 stopped by Ctrl-C",
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show the version and the networks' SHA-256"
    )
    shtab.add_argument_to(
        parser, "--print-completion", help="print what completes words in this shell"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add_to(commands)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
