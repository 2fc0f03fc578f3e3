"""orthanc-liver export: the weights as a MONAI bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_to(commands: Any) -> None:
    """Add export to the parser's commands."""
    export = commands.add_parser("export", help="write the weights as a MONAI bundle")
    export.add_argument("--bundle", type=Path, required=True, help="the bundle's folder")
    export.add_argument("--weights", type=Path, help="other weights than the default ones")
    export.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from liver_unet.bundle import export_bundle
    from liver_unet.weights import default_weights

    export_bundle(options.weights or default_weights(), options.bundle)
