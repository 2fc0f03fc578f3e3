"""What the commands' words have in common: help that tells defaults and an example."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Tells the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, "", False) or action.default == []:
            return action.help
        return super()._get_help_string(action)


def new_command(commands: Any, name: str, about: str, example: str) -> argparse.ArgumentParser:
    """Add a command. example: its words, as one would type them after orthanc-liver NAME."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=f"example: %(prog)s {example}",
        formatter_class=_Help,
    )
    return parser


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help='where the network runs; "auto": on a GPU where PyTorch sees one',
    )


def add_weights(parser: argparse.ArgumentParser) -> None:
    """Add --weights."""
    parser.add_argument(
        "--weights", type=Path, metavar="DIR", help="other weights than the default ones"
    )
