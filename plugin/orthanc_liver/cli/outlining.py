"""What segment does with one CT: outline its liver into a folder of results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class OneCt:
    """Where a CT is, and which. series: its UID, "" for the only one."""

    path: Path
    series: str
    min_slices: int


class Outlining:
    """segmenter: gives the networks, which are not loaded before a CT was found to be there."""

    def __init__(
        self, segmenter: Callable[[], Segmenter], progress: Callable[[str, float], None]
    ) -> None:
        self._segmenter = segmenter
        self._progress = progress

    def outline(self, ct: OneCt, out: ResultFolder) -> dict[str, Any]:
        """Write the outputs; return what is in the report. A refusal is in it too, and raised."""
        try:
            summary = self._outlined(ct, out)
        except SeriesRefused as refusal:
            out.end_without_result(Outcome.REFUSED, str(refusal))
            raise
        except (LiverError, ModelError) as error:
            out.end_without_result(Outcome.FAILED, str(error))
            raise
        out.report(summary)
        return summary

    def _outlined(self, ct: OneCt, out: ResultFolder) -> dict[str, Any]:
        from orthanc_liver.dicom.ct_folder import find_ct

        files = find_ct(ct.path, ct.series, ct.min_slices)
        if files is None:
            return self._from_nifti(ct, out)
        return self._from_dicom(files, ct.min_slices, out)

    def _from_dicom(self, files: CtFiles, min_slices: int, out: ResultFolder) -> dict[str, Any]:
        from orthanc_liver.pipeline import segment_series

        segmentation = segment_series(
            files.read(),
            self._segmenter(),
            JobSettings(minimum_slices=min_slices, projections=True),
            created=datetime.now().astimezone(),
            progress=self._progress,
        )
        if segmentation.liver is not None:
            _write_mask(out, segmentation.liver)
            with out.writing(RTSTRUCT) as path:
                path.write_bytes(segmentation.objects[Kind.RTSTRUCT][0])
            with out.writing(OVERLAY) as path:
                path.write_bytes(segmentation.preview_png or b"")
        report = segmentation.report
        return report | {"warnings": [*files.notes, *report["warnings"]]}

    def _from_nifti(self, ct: OneCt, out: ResultFolder) -> dict[str, Any]:
        from liver_unet.fallback import segment_or_fall_back
        from liver_unet.liver import Liver
        from liver_unet.overlay import overlay_png
        from liver_unet.stages import Stages
        from orthanc_liver.dicom.ct_folder import read_ct
        from orthanc_liver.pipeline import lungs_told, report

        segmenter, stages = self._segmenter(), Stages(self._progress)
        with stages("read"):
            read = read_ct(ct.path, min_slices=ct.min_slices)
        computed = segment_or_fall_back(segmenter, read.volume, stages)
        found = computed.found
        if isinstance(found, Liver):
            _write_mask(out, found)
            with out.writing(OVERLAY) as path:
                path.write_bytes(overlay_png(read.volume, found))
        told = report(computed.by, read.warnings + computed.warnings, stages, found)
        return told | lungs_told(read.volume)


def _write_mask(out: ResultFolder, liver: Liver) -> None:
    import numpy as np

    from liver_unet.nifti import write_nifti

    with out.writing(MASK) as path:
        write_nifti(path, liver.mask_on_ct().astype(np.uint8), liver.ct_grid)
