"""orthanc-liver activity: the activity of Y-90 or Ho-166 without Orthanc."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orthanc_liver.cli.parser import new_command
from orthanc_liver.cli.result_folder import MASK, RTSTRUCT
from orthanc_liver.sirt.activity import compute_activity
from orthanc_liver.sirt.inputs import (
    CHOICES,
    QUANTITIES,
    ROIS,
    ActivityRefused,
    Inputs,
    read_choices,
    read_input,
    read_inputs,
    read_lungs,
    read_report,
)
from orthanc_liver.sirt.limits import limits_of_site
from orthanc_liver.sirt.methods import METHODS
from orthanc_liver.sirt.roi_volume import Outline, agree, volumes_of

if TYPE_CHECKING:
    from orthanc_liver.dicom.ct_series import CtSeries


def add_to(commands: Any) -> None:
    """Add activity to the parser's commands."""
    activity = new_command(
        commands,
        "activity",
        "the activity of Y-90 or Ho-166 from the liver's volume",
        "--method resin --report result/report.json --tumour-ml 150 --height-m 1.75 "
        "--weight-kg 70 --lung-shunt 0.12",
    )
    activity.add_argument(
        "--method", required=True, choices=tuple(METHODS), help="how the activity is computed"
    )
    activity.add_argument("--report", type=Path, help="report.json of segment: the liver volume")
    activity.add_argument("--json", action="store_true", help="everything, unrounded, as JSON")
    for quantity in QUANTITIES.values():
        unit = quantity.unit or "NUMBER"
        activity.add_argument(
            _option(quantity.name), type=float, metavar=unit, help=quantity.meaning
        )
    for choice in CHOICES.values():
        activity.add_argument(_option(choice.name), choices=choice.options, help=choice.meaning)
    activity.add_argument("--rtstruct", type=Path, help="where the ROIs are that are named below")
    activity.add_argument("--ct", type=Path, help="the CT that they are drawn on, as for segment")
    activity.add_argument("--series", default="", metavar="UID", help="as for segment")
    for roi, name in ROIS.items():
        help_text = f"the ROI whose volume is the {QUANTITIES[name].meaning}"
        activity.add_argument(_option(roi), metavar="NAME", help=help_text)
    activity.add_argument(
        "--outside-is-meant",
        action="store_true",
        help="a part may lie outside its whole by more than a tenth; what is inside counts",
    )
    activity.add_argument(
        "--lungs-from-ct",
        action="store_true",
        help="take the mass of the lungs from --report, where segment measured it",
    )
    activity.add_argument(
        "--table",
        action="store_true",
        help="what each vial on offer, or --vial-gbq, gives at each hour after calibration",
    )
    activity.add_argument(
        "--dose-limit",
        type=_limit,
        action="append",
        default=[],
        metavar="NAME=GY",
        help="a limit or an aim of your own in the place of the published one of that name",
    )
    activity.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    inputs = read_inputs(_chosen(options, QUANTITIES))
    warnings: tuple[str, ...] = ()
    if options.report:
        if "LiverMl" in inputs or options.liver_roi:
            raise ActivityRefused("give --report or a liver volume, not both: each is one")
        inputs["LiverMl"], warnings = read_report(_read_json(options.report), "segmentation")
    if options.lungs_from_ct:
        inputs |= _lungs(options, inputs)
    outlined, told = _outlined(options, inputs)
    chosen = read_choices(_chosen(options, CHOICES))
    limits = limits_of_site(dict(options.dose_limit), "--dose-limit")
    result = compute_activity(
        options.method,
        inputs | outlined,
        [*warnings, *told],
        chosen,
        limits,
        with_table=options.table,
    )
    shown = json.dumps(result.as_json(), indent=2) + "\n" if options.json else result.as_text()
    sys.stdout.write(shown)


def _lungs(options: argparse.Namespace, given: Inputs) -> Inputs:
    if not options.report:
        raise ActivityRefused("--lungs-from-ct needs --report: what segment measured")
    if "LungMassKg" in given:
        raise ActivityRefused("give --lungs-from-ct or --lung-mass-kg, not both")
    return {"LungMassKg": read_lungs(_read_json(options.report), "segmentation")}


def _chosen(options: argparse.Namespace, names: Any) -> dict[str, Any]:
    """What was given of these, by name."""
    given = {name: getattr(options, _option(name)[2:].replace("-", "_")) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def _option(name: str) -> str:
    """LungMassKg on the command line: --lung-mass-kg."""
    return "-" + re.sub("[A-Z]", lambda capital: f"-{capital.group().lower()}", name)


def _outlined(options: argparse.Namespace, given: Inputs) -> tuple[Inputs, Sequence[str]]:
    """The volumes of the ROIs that are named, and what is to be said of them."""
    rois = _chosen(options, ROIS)
    if not rois:
        return {}, ()
    if not options.rtstruct or not options.ct:
        raise ActivityRefused("an ROI needs --rtstruct and --ct: where it is, and on which CT")
    for roi in rois:
        if ROIS[roi] in given:
            raise ActivityRefused(f"give {_option(roi)} or {_option(ROIS[roi])}, not both")
    from orthanc_liver.dicom.ct_folder import read_ct
    from orthanc_liver.dicom.roi_choice import RoiChoice
    from orthanc_liver.dicom.rtstruct_reader import outline_of, read_outlines, roi_of

    path, structures = read_outlines(options.rtstruct)
    ct = read_ct(options.ct, options.series)
    found = {
        ROIS[roi]: outline_of(roi_of(structures, path, RoiChoice((name,))), ct, path)
        for roi, name in rois.items()
    }
    segmented = _segmented_liver(options.report, ct, given) if options.report else {}
    volumes, warnings = volumes_of(found | segmented, outside_is_meant=options.outside_is_meant)
    origin = f"area of the ROI's contours x slice distance, {path.name}"
    inputs = {name: read_input(name, volumes[name], origin) for name in found}
    return inputs, [*ct.warnings, *warnings]


def _segmented_liver(report: Path, ct: CtSeries, given: Inputs) -> dict[str, Outline]:
    """What segment outlined, from beside its report: of a CT from NIfTI there is the mask alone."""
    from orthanc_liver.dicom.roi_choice import ANY
    from orthanc_liver.dicom.rtstruct_reader import outline_of, read_outlines, roi_of

    path, mask = report.with_name(RTSTRUCT), report.with_name(MASK)
    if path.exists():
        liver = outline_of(roi_of(read_outlines(path)[1], path, ANY), ct, path)
    elif mask.exists():
        path, liver = mask, _outline_of_mask(mask, ct)
    else:
        return {}
    if not agree(given["LiverMl"].value, liver.volume_ml):
        raise ActivityRefused(
            f"{report} and {path.name} beside it are not of one liver: segment the CT again"
        )
    return {"LiverMl": liver}


def _outline_of_mask(path: Path, ct: CtSeries) -> Outline:
    import numpy as np

    from orthanc_liver.dicom.contours import trace_contours
    from orthanc_liver.dicom.roi_choice import ANY
    from orthanc_liver.dicom.rtstruct_reader import Roi, outline_of
    from orthanc_liver.evaluation.outlines import read_contour

    mask = read_contour(path, ANY, ct).mask
    contours = trace_contours(mask.astype(np.float32), ct.volume.grid)
    frame = str(ct.header.get("FrameOfReferenceUID", ""))
    return outline_of(Roi("Liver", frame, [one.points_mm for one in contours]), ct, path)


def _limit(text: str) -> tuple[str, float]:
    """NAME=GY; what each may be, limits_of_site knows."""
    name, _, gy = text.partition("=")
    try:
        return name, float(gy)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not like LungOnce=25") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ActivityRefused(f"{path} cannot be read as the report.json of segment") from error
