"""orthanc-liver activity: the Y-90 activity without Orthanc."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    read_report,
)
from orthanc_liver.sirt.methods import METHODS
from orthanc_liver.sirt.roi_volume import Point, Slices, outline, volumes_of

if TYPE_CHECKING:
    import numpy as np
    import pydicom
    from numpy.typing import NDArray

    from liver_unet.volume import Grid


def add_to(commands: Any) -> None:
    """Add activity to the parser's commands."""
    activity = commands.add_parser("activity", help="the Y-90 activity from the liver's volume")
    activity.add_argument("--method", required=True, choices=tuple(METHODS))
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
    activity.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    outlined, warnings = _outlined(options)
    inputs = read_inputs(_chosen(options, QUANTITIES)) | outlined
    if options.report:
        if "LiverMl" in inputs:
            raise ActivityRefused("give --report or a liver volume, not both: each is one")
        inputs["LiverMl"], told = read_report(_read_json(options.report), "segmentation")
        warnings = [*told, *warnings]
    chosen = read_choices(_chosen(options, CHOICES))
    result = compute_activity(options.method, inputs, warnings, chosen)
    shown = json.dumps(result.as_json(), indent=2) + "\n" if options.json else result.as_text()
    sys.stdout.write(shown)


def _chosen(options: argparse.Namespace, names: Any) -> dict[str, Any]:
    """What was given of these, by name."""
    given = {name: getattr(options, _option(name)[2:].replace("-", "_")) for name in names}
    return {name: value for name, value in given.items() if value is not None}


def _option(name: str) -> str:
    """LungMassKg on the command line: --lung-mass-kg."""
    return "-" + re.sub("[A-Z]", lambda capital: f"-{capital.group().lower()}", name)


def _outlined(options: argparse.Namespace) -> tuple[Inputs, list[str]]:
    rois = _chosen(options, ROIS)
    given = _chosen(options, QUANTITIES)
    if not rois:
        return {}, []
    if not options.rtstruct or not options.ct:
        raise ActivityRefused("an ROI needs --rtstruct and --ct: where it is, and on which CT")
    for roi in rois:
        if ROIS[roi] in given:
            raise ActivityRefused(f"give {_option(roi)} or {_option(ROIS[roi])}, not both")
    from orthanc_liver.dicom.ct_folder import read_ct
    from orthanc_liver.dicom.rtstruct_reader import roi_polygons

    structures = _structures(options.rtstruct)
    ct = read_ct(options.ct, options.series)
    slices, found = _slices(ct.volume.grid), {}
    for roi, name in rois.items():
        # Exactly that name, capitals too.
        polygons = roi_polygons(structures, options.rtstruct, f"(?-i:^{re.escape(name)}$)")
        contours = [_points(one) for one in polygons.points_mm]
        found[ROIS[roi]] = outline(contours, slices, exclusive=polygons.exclusive)
    volumes, warnings = volumes_of(found, outside_is_meant=options.outside_is_meant)
    origin = f"area of the ROI's contours x slice distance, {options.rtstruct.name}"
    inputs = {name: read_input(name, ml, origin) for name, ml in volumes.items()}
    return inputs, [*ct.warnings, *warnings]


def _points(points_mm: NDArray[np.float64]) -> list[Point]:
    return [(x, y, z) for x, y, z in points_mm.tolist()]


def _structures(path: Path) -> pydicom.Dataset:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        return pydicom.dcmread(path)
    except (InvalidDicomError, OSError, EOFError, ValueError) as error:
        raise ActivityRefused(f"{path} cannot be read as an RTSTRUCT") from error


def _slices(grid: Grid) -> Slices:
    import numpy as np

    row, column = (grid.affine[:3, axis] / grid.spacing_mm[axis] for axis in (2, 1))
    places = [grid.to_mm(np.array([n, 0.0, 0.0])).tolist() for n in range(grid.shape[0])]
    return Slices.of([*row.tolist(), *column.tolist()], [(x, y, z) for x, y, z in places])


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise ActivityRefused(f"{path} cannot be read as the report.json of segment") from error
