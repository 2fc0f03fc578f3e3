"""orthanc-liver export: the weights as a MONAI bundle, or as what runs them faster on a CPU."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from orthanc_liver.cli.parser import add_weights, new_command


def add_to(commands: Any) -> None:
    """Add export to the parser's commands."""
    export = new_command(commands, "export", "write the weights in other forms", "--bundle bundle")
    form = export.add_mutually_exclusive_group(required=True)
    form.add_argument("--bundle", type=Path, help="a MONAI bundle in this folder")
    form.add_argument(
        "--graph",
        action="store_true",
        help="OpenVINO's graph beside the weights: CPUs without bfloat16 run them twice as fast",
    )
    add_weights(export)
    export.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from liver_unet.weights import default_weights

    weights = options.weights or default_weights()
    if options.graph:
        from liver_unet.graph import write_graph

        write_graph(weights)
        return
    from liver_unet.bundle import export_bundle

    export_bundle(weights, options.bundle)
