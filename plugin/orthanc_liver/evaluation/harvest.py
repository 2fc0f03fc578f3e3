"""What came back to an Orthanc as cases to measure with and to learn from, without the patient."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from tqdm import tqdm

from liver_unet.ct_nifti import MINIMUM_SLICES
from liver_unet.model_errors import TrainingRefused
from liver_unet.whole_file import whole_file
from orthanc_liver import __version__
from orthanc_liver.dicom.ct_series import read_ct_series
from orthanc_liver.dicom.roi_choice import RoiChoice
from orthanc_liver.dicom.rtstruct_reader import refusing_damaged
from orthanc_liver.dicom.training_cases import CT, LIVER_MASK, refuse_unlearnable, write_case
from orthanc_liver.evaluation.outlines import contour_in
from orthanc_liver.liver_errors import LiverError

MANIFEST, CASES = "manifest.json", "cases.csv"
_CASE = "case_[0-9a-f]{4,}"

# What is at a path of Orthanc's REST API; LiverError where that is not to be had.
Get = Callable[[str], bytes]


class HarvestRefused(LiverError):
    """Nothing can be harvested from there, or to there."""


@dataclass(frozen=True)
class LeftOut:
    """Orthanc's id of a series, and why it became no case."""

    series: str
    reason: str


def harvest(get: Get, out: Path) -> tuple[list[str], list[LeftOut]]:
    """Write a case for each CT whose outline came back; return their names, and what was left out.

    A case is pixels, where they lie, the physician's liver and our grade. HarvestRefused where out
    holds anything already.
    """
    if out.exists() and any(out.iterdir()):
        raise HarvestRefused(f"{out} is not empty: name a new folder")
    chosen = _chosen(get("/liver/quality").decode())
    out.mkdir(parents=True, exist_ok=True)
    salt = secrets.token_hex(16)
    cases: list[dict[str, Any]] = []
    left_out = []
    for row in tqdm(chosen, unit="case", desc="harvest", disable=None):
        origin = _origin(salt, row["series"])
        # What goes by names elsewhere must not take another harvest's case for this one.
        name = f"case_{origin[:12]}"
        try:
            _write(get, row, out / name)
        except (LiverError, TrainingRefused) as refusal:
            shutil.rmtree(out / name, ignore_errors=True)
            left_out.append(LeftOut(row["series"], str(refusal)))
            continue
        told = {"case": name, "origin": origin, "grade": row["grade"]}
        cases.append(told | {"sha256": _digests(out / name)})
    _write_lists(out, salt, cases)
    return [one["case"] for one in cases], left_out


def prune(get: Get, out: Path) -> list[str]:
    """Delete the cases of which Orthanc no longer has a comparison, and return their names.

    HarvestRefused where out holds no harvest that says where its cases came from.
    """
    try:
        manifest = json.loads((out / MANIFEST).read_text())
        salt, cases = str(manifest["salt"]), list(manifest["cases"])
        origins = {str(one["case"]): str(one["origin"]) for one in cases}
    except (OSError, ValueError, KeyError, TypeError):
        raise HarvestRefused(
            f"{out / MANIFEST} is not there or does not say where cases came from: harvest again"
        ) from None
    rows = csv.DictReader(io.StringIO(get("/liver/quality").decode()))
    here = {_origin(salt, one["series"]) for one in rows}
    if origins and not here & set(origins.values()):
        raise HarvestRefused(
            f"that Orthanc knows no case of {out}: name the one it came from, or delete the folder"
        )
    gone = [case for case, origin in origins.items() if origin not in here]
    for case in gone:
        if re.fullmatch(_CASE, case):
            shutil.rmtree(out / case, ignore_errors=True)
    _write_lists(out, salt, [one for one in cases if one["case"] not in gone])
    return gone


def _origin(salt: str, series: str) -> str:
    """Tells whose Orthanc holds the series which one it is, and nobody else anything."""
    return hashlib.sha256(f"{salt} {series}".encode()).hexdigest()


def _chosen(table: str) -> list[dict[str, str]]:
    """Of each CT the outline that stands for it, by the last comparison of several models."""
    every = csv.DictReader(io.StringIO(table))
    # The grade is to be the first model's.
    rows = [one for one in every if (one["is_case"], one["is_shadow"]) == ("yes", "no")]
    return list({one["series"]: one for one in rows}.values())


def _write(get: Get, row: Mapping[str, str], folder: Path) -> None:
    series = read_ct_series(_slices(get, row["series"]), min_slices=MINIMUM_SLICES)
    place = Path(f"outline {row['instance']}")
    with refusing_damaged(place):
        drawn = pydicom.dcmread(io.BytesIO(get(f"/instances/{row['instance']}/file")))
    liver = contour_in(drawn, place, RoiChoice(names=(row["roi"],)), series).mask
    refuse_unlearnable(liver, series, place)
    folder.mkdir()
    write_case(folder, series, liver)


def _slices(get: Get, series: str) -> Iterator[bytes]:
    """Without the structure sets that some systems file in their CT's own series."""
    for one in json.loads(get(f"/series/{series}/instances")):
        if "ImagePositionPatient" in one["MainDicomTags"]:
            yield get(f"/instances/{one['ID']}/file")


def _digests(folder: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (CT, LIVER_MASK)
    }


def _write_lists(out: Path, salt: str, cases: Sequence[Mapping[str, Any]]) -> None:
    about = {"Version": 1, "software_version": __version__}
    manifest = about | {"salt": salt, "cases": cases}
    with whole_file(out / MANIFEST) as part:
        part.write_text(json.dumps(manifest, indent=2) + "\n")
    with whole_file(out / CASES) as part, part.open("w", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["case", "ct", "reference"])
        for one in cases:
            name = one["case"]
            lines.writerow([name, f"{name}/{CT}", f"{name}/{LIVER_MASK}"])
