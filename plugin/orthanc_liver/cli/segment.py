"""orthanc-liver segment: the liver of one CT without Orthanc."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liver_unet.model_errors import ModelError
from orthanc_liver.cli.result_folder import MASK, OVERLAY, RTSTRUCT, ResultFolder
from orthanc_liver.engine.protocol import JobSettings, Kind, Outcome
from orthanc_liver.liver_errors import LiverError, SeriesRefused

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
    out = ResultFolder(options.out, options.input)
    try:
        summary = _segment(options, out)
    except SeriesRefused as refusal:
        out.end_without_result(Outcome.REFUSED, str(refusal))
        raise
    except (LiverError, ModelError) as error:
        out.end_without_result(Outcome.FAILED, str(error))
        raise
    out.report(summary)
    for warning in summary["warnings"]:
        sys.stderr.write(f"warning: {warning}\n")
    if "no_liver" in summary:
        sys.stdout.write(f"no liver found: {summary['no_liver']['reason']}\n")
    else:
        sys.stdout.write(f"liver: {summary['liver_ml']:.1f} mL\n")


def _segment(options: argparse.Namespace, out: ResultFolder) -> dict[str, Any]:
    """Write the outputs but for the report, which is returned."""
    from liver_unet.ct_nifti import MINIMUM_SLICES
    from liver_unet.segmenter import Segmenter
    from liver_unet.weights import default_weights
    from orthanc_liver.dicom.ct_folder import find_ct

    min_slices = options.minimum_slices or MINIMUM_SLICES
    files = find_ct(options.input, options.series, min_slices)
    segmenter = Segmenter.load(options.weights or default_weights(), options.device)
    with _TerminalProgress() as progress:
        if files is None:
            return _segment_nifti(options.input, out, min_slices, segmenter, progress)
        return _segment_dicom(files, out, min_slices, segmenter, progress)


def _segment_dicom(
    files: CtFiles,
    out: ResultFolder,
    min_slices: int,
    segmenter: Segmenter,
    progress: _TerminalProgress,
) -> dict[str, Any]:
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
        with out.writing(RTSTRUCT) as path:
            path.write_bytes(segmentation.objects[Kind.RTSTRUCT])
        with out.writing(OVERLAY) as path:
            path.write_bytes(segmentation.preview_png or b"")
    report = segmentation.report
    return report | {"warnings": [*files.notes, *report["warnings"]]}


def _segment_nifti(
    source: Path,
    out: ResultFolder,
    min_slices: int,
    segmenter: Segmenter,
    progress: _TerminalProgress,
) -> dict[str, Any]:
    from liver_unet.fallback import segment_or_fall_back
    from liver_unet.liver import Liver
    from liver_unet.overlay import overlay_png
    from liver_unet.stages import Stages
    from orthanc_liver.dicom.ct_folder import read_ct
    from orthanc_liver.pipeline import report

    stages = Stages(progress.show)
    with stages("read"):
        ct = read_ct(source, min_slices=min_slices)
    computed = segment_or_fall_back(segmenter, ct.volume, stages)
    found = computed.found
    if isinstance(found, Liver):
        _write_mask(out, found)
        with out.writing(OVERLAY) as path:
            path.write_bytes(overlay_png(ct.volume, found))
    return report(computed.by, ct.warnings + computed.warnings, stages, found)


def _write_mask(out: ResultFolder, liver: Liver) -> None:
    import numpy as np

    from liver_unet.nifti import write_nifti

    with out.writing(MASK) as path:
        write_nifti(path, liver.mask_on_ct().astype(np.uint8), liver.ct_grid)


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
