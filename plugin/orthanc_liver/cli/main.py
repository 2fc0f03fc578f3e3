"""The command line: segment and activity; train, export, evaluate and atlas for researchers."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from liver_unet.bundle import export_bundle
from liver_unet.ct_nifti import read_ct_nifti
from liver_unet.model_errors import ModelError, TrainingRefused
from liver_unet.nifti import write_nifti
from liver_unet.overlay import overlay_png
from liver_unet.segmenter import Liver, Segmenter, Stopwatch
from liver_unet.weights import default_weights
from orthanc_liver import __version__
from orthanc_liver.cli import activity, evaluate
from orthanc_liver.dicom.result import RoiStyle
from orthanc_liver.dicom.training_cases import train
from orthanc_liver.liver_errors import LiverError, SeriesRefused
from orthanc_liver.pipeline import report, segment_series

REFUSED = 2


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand; return 0, or 2 with one sentence on standard error for refused input."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (LiverError, ModelError) as refusal:
        sys.stderr.write(f"orthanc-liver: {refusal}\n")
        return REFUSED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="orthanc-liver",
        description="Outlines the liver on CT. For review by a physician; not a medical device.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    segment = commands.add_parser("segment", help="outline the liver of one CT, without Orthanc")
    segment.add_argument("input", type=Path, help="a folder of one DICOM CT series, or a NIfTI CT")
    segment.add_argument("--out", type=Path, required=True, help="folder for the results")
    segment.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    segment.add_argument("--weights", type=Path, default=default_weights())
    segment.add_argument("--minimum-slices", type=int, default=10)
    segment.set_defaults(run=_segment)
    activity.add_to(commands)
    training = commands.add_parser("train", help="train a network on your own cases")
    training.add_argument(
        "--data", type=Path, required=True, help="LiTS, Decathlon, a folder a case, DICOM"
    )
    training.add_argument("--out", type=Path, required=True, help="folder for weights and curves")
    training.add_argument(
        "--config", default="published", help='"published", "compact", "fine" or a TOML file'
    )
    training.add_argument(
        "--fold", default="0", help='which patients validate: a number, or "all" to learn from all'
    )
    training.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    training.add_argument("--start", type=Path, help="folder of weights to begin from")
    training.set_defaults(run=_train)
    export = commands.add_parser("export", help="write the weights as a MONAI bundle")
    export.add_argument("--bundle", type=Path, required=True, help="the bundle's folder")
    export.add_argument("--weights", type=Path, default=default_weights())
    export.set_defaults(run=lambda options: export_bundle(options.weights, options.bundle))
    evaluate.add_to(commands)
    return parser


def _train(options: argparse.Namespace) -> None:
    if options.fold != "all" and not options.fold.isdigit():
        raise TrainingRefused(f'--fold {options.fold}: give a number or "all"')
    fold = None if options.fold == "all" else int(options.fold)
    train(options.data, options.out, options.config, fold, options.device, options.start)


def _segment(options: argparse.Namespace) -> None:
    if not options.input.exists():
        raise SeriesRefused(f"{options.input} does not exist: name a DICOM folder or a NIfTI file")
    segmenter = Segmenter.load(options.weights, options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    with _TerminalProgress() as progress:
        if options.input.is_dir():
            summary = _segment_folder(options, segmenter, progress)
        else:
            summary = _segment_nifti(options, segmenter, progress)
    (options.out / "report.json").write_text(json.dumps(summary, indent=2) + "\n")
    for warning in summary["warnings"]:
        sys.stderr.write(f"warning: {warning}\n")
    found = summary["liver_ml"]
    sys.stdout.write("no liver found\n" if found is None else f"liver: {found:.1f} mL\n")


def _segment_folder(
    options: argparse.Namespace, segmenter: Segmenter, progress: _TerminalProgress
) -> dict[str, Any]:
    outcome = segment_series(
        _dicom_files(options.input),
        segmenter,
        style=RoiStyle(),
        created=datetime.now().astimezone(),
        min_slices=options.minimum_slices,
        progress=progress.show,
    )
    if outcome.liver is not None and outcome.rtstruct is not None:
        _write_mask(options.out, outcome.liver)
        (options.out / "rtstruct.dcm").write_bytes(outcome.rtstruct)
        (options.out / "overlay.png").write_bytes(outcome.preview_png or b"")
    return outcome.report


def _segment_nifti(
    options: argparse.Namespace, segmenter: Segmenter, progress: _TerminalProgress
) -> dict[str, Any]:
    clock = Stopwatch()
    with clock.stage("read"):
        volume, notes = read_ct_nifti(options.input, options.minimum_slices)
    liver = segmenter.segment(volume, progress.show, clock)
    if liver is not None:
        _write_mask(options.out, liver)
        (options.out / "overlay.png").write_bytes(overlay_png(volume, liver))
    warnings = (*notes, *(() if liver is None else liver.warnings))
    return report(segmenter, warnings, clock, liver)


def _dicom_files(folder: Path) -> Iterator[bytes]:
    """Every DICOM image below the folder; an index of the medium or a text is not one."""
    found = False
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "DICOMDIR"):
        content = path.read_bytes()
        if content[128:132] == b"DICM":
            found = True
            yield content
    if not found:
        raise SeriesRefused(f"{folder} holds no DICOM file: name the folder of one CT series")


def _write_mask(out: Path, liver: Liver) -> None:
    write_nifti(out / "liver.nii.gz", liver.mask_on_ct().astype(np.uint8), liver.ct_grid)


class _TerminalProgress:
    """One bar that tells the stage, on a terminal only."""

    def __enter__(self) -> _TerminalProgress:
        self._bar = tqdm(total=100, unit="%", disable=None, leave=False, bar_format="{desc}: {bar}")
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, stage: str, fraction: float) -> None:
        self._bar.set_description(stage, refresh=False)
        self._bar.n = int(100 * fraction)
        self._bar.refresh()


if __name__ == "__main__":
    raise SystemExit(main())
