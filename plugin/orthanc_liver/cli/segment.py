"""orthanc-liver segment: the liver of one CT without Orthanc."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liver_unet.liver import Liver
    from liver_unet.segmenter import Segmenter
    from orthanc_liver.dicom.ct_folder import CtFiles


def add_to(commands: Any) -> None:
    """Add segment to the parser's commands."""
    segment = commands.add_parser("segment", help="outline the liver of one CT, without Orthanc")
    segment.add_argument(
        "input", type=Path, help="a folder or zip file of DICOM CT, or a NIfTI file"
    )
    segment.add_argument(
        "--series", default="", metavar="UID", help="which CT series, where there are several"
    )
    segment.add_argument("--out", type=Path, required=True, help="folder for the results")
    segment.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    segment.add_argument("--weights", type=Path, help="other weights than the default ones")
    segment.add_argument("--minimum-slices", type=int, help="fewer are refused")
    segment.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from liver_unet.ct_nifti import MINIMUM_SLICES
    from liver_unet.segmenter import Segmenter
    from liver_unet.weights import default_weights
    from orthanc_liver.dicom.ct_folder import find_ct

    min_slices = options.minimum_slices or MINIMUM_SLICES
    files = find_ct(options.input, options.series, min_slices)
    segmenter = Segmenter.load(options.weights or default_weights(), options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    with _TerminalProgress() as progress:
        if files is None:
            summary = _segment_nifti(options, min_slices, segmenter, progress)
        else:
            summary = _segment_dicom(files, options.out, min_slices, segmenter, progress)
    (options.out / "report.json").write_text(json.dumps(summary, indent=2) + "\n")
    for warning in summary["warnings"]:
        sys.stderr.write(f"warning: {warning}\n")
    if "no_liver" in summary:
        sys.stdout.write(f"no liver found: {summary['no_liver']['reason']}\n")
    else:
        sys.stdout.write(f"liver: {summary['liver_ml']:.1f} mL\n")


def _segment_dicom(
    files: CtFiles, out: Path, min_slices: int, segmenter: Segmenter, progress: _TerminalProgress
) -> dict[str, Any]:
    from orthanc_liver.engine.protocol import JobSettings, Kind
    from orthanc_liver.pipeline import segment_series

    segmentation = segment_series(
        files.read(),
        segmenter,
        JobSettings(minimum_slices=min_slices, projections=True),
        created=datetime.now().astimezone(),
        progress=progress.show,
    )
    if segmentation.liver is not None:
        _write_mask(out, segmentation.liver)
        (out / "rtstruct.dcm").write_bytes(segmentation.objects[Kind.RTSTRUCT])
        (out / "overlay.png").write_bytes(segmentation.preview_png or b"")
    report = segmentation.report
    return report | {"warnings": [*files.notes, *report["warnings"]]}


def _segment_nifti(
    options: argparse.Namespace, min_slices: int, segmenter: Segmenter, progress: _TerminalProgress
) -> dict[str, Any]:
    from liver_unet.fallback import fall_back_warnings, segment_or_fall_back
    from liver_unet.liver import Liver
    from liver_unet.overlay import overlay_png
    from liver_unet.stages import Stages
    from orthanc_liver.dicom.ct_folder import read_ct
    from orthanc_liver.pipeline import report

    stages = Stages(progress.show)
    with stages("read"):
        ct = read_ct(options.input, min_slices=min_slices)
    found, used = segment_or_fall_back(segmenter, ct.volume, stages)
    if isinstance(found, Liver):
        _write_mask(options.out, found)
        (options.out / "overlay.png").write_bytes(overlay_png(ct.volume, found))
    warnings = ct.warnings + fall_back_warnings(segmenter, used)
    return report(used, warnings, stages, found)


def _write_mask(out: Path, liver: Liver) -> None:
    import numpy as np

    from liver_unet.nifti import write_nifti

    write_nifti(out / "liver.nii.gz", liver.mask_on_ct().astype(np.uint8), liver.ct_grid)


class _TerminalProgress:
    """One bar that tells the stage, on a terminal only."""

    def __enter__(self) -> _TerminalProgress:
        from tqdm import tqdm

        self._bar = tqdm(total=100, unit="%", disable=None, leave=False, bar_format="{desc}: {bar}")
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, stage: str, fraction: float) -> None:
        self._bar.set_description(stage, refresh=False)
        self._bar.n = int(100 * fraction)
        self._bar.refresh()
