"""What a job may store: a row for each kind of object, and what all of them are made of."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from liver_unet.grade import Doubt, Grade
from orthanc_liver.dicom.contours import Contour
from orthanc_liver.dicom.ct_series import CtSeries
from orthanc_liver.dicom.descriptions import series_description
from orthanc_liver.dicom.result import Provenance, RoiStyle
from orthanc_liver.dicom.rtstruct import build_rtstruct
from orthanc_liver.dicom.rtstruct_reader import Roi, mask_of, outline_of
from orthanc_liver.dicom.secondary_capture import build_captures
from orthanc_liver.dicom.segmentation import build_segmentation
from orthanc_liver.dicom.slice_pictures import OutlinedSlices
from orthanc_liver.dicom.structured_report import build_report
from orthanc_liver.engine.protocol import LOOK_HERE, JobSettings, Kind

Objects = Sequence[Dataset]
Made = Mapping[Kind, Objects]


@dataclass(frozen=True, eq=False)
class Source:
    """What the objects of one job tell of.

    contours: none where the RTSTRUCT is there already. mask: gives (slice, row, column) of the
    CT's own slices; asked for once, where it is needed, for it is as large as the CT.
    remarks: sentences about the outline that whoever reads the result is to see. look_here: where
    the networks are unsure; look_at: see OutlinedSlices. planes_png: gives the picture of three
    planes. grade: empty where there is none; activity and sheet: as Activity tells it, as JSON and
    as text.
    """

    series: CtSeries
    contours: Sequence[Contour]
    mask: Callable[[], NDArray[np.bool_]]
    liver_ml: float
    provenance: Provenance
    style: RoiStyle
    created: datetime
    planes_png: Callable[[], bytes]
    grade: str = ""
    activity: dict[str, Any] | None = None
    sheet: str = ""
    remarks: tuple[str, ...] = ()
    look_here: Sequence[Contour] = ()
    look_at: tuple[tuple[int, int], ...] = ()

    @cached_property
    def outlined(self) -> OutlinedSlices:
        """What is outlined, on the CT's own slices."""
        here = self._mask_of_look_here()
        return OutlinedSlices(self.series, self.mask(), here, self.style, self.look_at)

    def _mask_of_look_here(self) -> NDArray[np.bool_] | None:
        """What the RTSTRUCT shows as an ROI, as a mask."""
        if not self.look_here:
            return None
        volume, path = self.series.volume, Path(LOOK_HERE)
        frame = str(self.series.header.FrameOfReferenceUID)
        roi = Roi(LOOK_HERE, frame, [one.points_mm for one in self.look_here])
        mask = mask_of(outline_of(roi, self.series, path), volume, path)
        return np.asarray(mask[list(volume.own_slices)])


def _rtstruct(source: Source, _: Made) -> Objects:
    rtstruct = build_rtstruct(
        source.series,
        source.contours,
        source.provenance,
        source.style,
        source.created,
        source.remarks,
        source.look_here,
    )
    return [rtstruct]


def _seg(source: Source, _: Made) -> Objects:
    segmentation = build_segmentation(
        source.series,
        source.outlined.mask,
        source.provenance,
        source.style,
        source.created,
        source.outlined.look_here,
    )
    return [segmentation]


def _sr(source: Source, made: Made) -> Objects:
    [segmentation] = made[Kind.SEG]
    report = build_report(
        source.series,
        segmentation,
        source.liver_ml,
        source.activity,
        source.provenance,
        source.style,
        source.created,
    )
    return [report]


def _sc(source: Source, _: Made) -> Objects:
    return build_captures(
        source.outlined, source.liver_ml, source.grade, source.provenance, source.created
    )


def _pdf(source: Source, _: Made) -> Objects:
    # Imports fpdf2, which takes a second, and most jobs write no PDF.
    from orthanc_liver.dicom.encapsulated_pdf import build_pdf, sheet_of  # noqa: PLC0415

    sheet = sheet_of(
        source.outlined,
        source.liver_ml,
        source.grade,
        source.remarks,
        source.planes_png(),
        source.sheet,
        source.provenance,
    )
    return [build_pdf(sheet, source.provenance, source.created)]


BUILDERS: Mapping[Kind, Callable[[Source, Made], Objects]] = {
    Kind.RTSTRUCT: _rtstruct,
    Kind.SEG: _seg,
    Kind.SR: _sr,
    Kind.SC: _sc,
    Kind.PDF: _pdf,
}


def build(kind: Kind, source: Source, made: Made) -> Objects:
    """Build the objects of a kind; made: those that it needs. Errors: whatever its header
    provokes."""
    # highdicom's warnings quote values, and values may be the patient's.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return BUILDERS[kind](source, made)


def roi_style(settings: JobSettings, series: CtSeries, doubt: Doubt | None) -> RoiStyle:
    """The look of the result of a CT; a doubtful one says so wherever its series is listed."""
    template = settings.series_description
    if doubt and doubt.grade is Grade.DOUBTFUL:
        template = f"DOUBTFUL: {template}"
    described = series_description(template, series.header)
    return RoiStyle(settings.roi_name, settings.roi_colour, described)
