"""Train on whatever the researcher has: DICOM is turned into case folders first.

One CT series and the one RTSTRUCT drawn on it are one case. The model's side knows no DICOM.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import RTStructureSetStorage
from tqdm import tqdm

from liver_unet import training
from liver_unet.claimed_folder import claimed
from liver_unet.ct_nifti import MINIMUM_SLICES
from liver_unet.liver import first_gap, no_liver_because
from liver_unet.model_errors import TrainingRefused
from liver_unet.nifti import write_nifti
from liver_unet.segmenter import device_there
from liver_unet.training.refusals import Refusals
from orthanc_liver.dicom.ct_folder import DicomFile, dicom_files
from orthanc_liver.dicom.ct_series import CtSeries, read_ct_series
from orthanc_liver.dicom.roi_choice import LIVER, OutlineRefused, RoiChoice
from orthanc_liver.dicom.rtstruct_reader import (
    Roi,
    described,
    mask_of,
    outline_of,
    read_outlines,
    referenced_series,
    refusing_damaged,
    roi_of,
)
from orthanc_liver.liver_errors import LiverError, SeriesRefused

# What lies in a case's folder.
CT, LIVER_MASK = "ct.nii.gz", "liver.nii.gz"
# And what its mask was drawn from.
_MADE_FROM = "outline.sha256"


def train(
    recipe: training.TrainingConfig,
    data: Sequence[Path],
    out: Path,
    device: str = "auto",
    fold: int | None = 0,
    start: Path | None = None,
    roi: RoiChoice = LIVER,
) -> None:
    """Train on folders in any known layout; see liver_unet.training.train for what it leaves.

    device: "auto" (a GPU when there is one), "cpu" or "cuda"; of several that torchrun started,
    each takes its own. roi: which ROI is the liver. Raises LiverError or ModelError.
    """
    cards = training.Cards.from_environment(device_there(device))
    caches = [out / "cases" / str(number) for number in range(1, len(data) + 1)]
    with claimed(out) if cards.first else nullcontext():
        found = cards.first_alone(
            lambda: [_prepared(one, cache, roi) for one, cache in zip(data, caches, strict=True)]
        )
        patients = {case: who for one in found for case, who in one.patients.items()}
        recipe = replace(recipe, same_patient=(*recipe.same_patient, *_of_several_cases(patients)))
        training.train(recipe, [one.folder for one in found], out, cards, fold, start)
    cards.leave()


@dataclass(frozen=True)
class _Outline:
    """A structure set's liver. words: what a person knows the set by; series_uids: the CT series
    that it says it was drawn on."""

    path: Path
    words: str
    uid: str
    series_uids: frozenset[str]
    roi: Roi

    @property
    def digest(self) -> str:
        """Changes with the contours, and so with the ROI that is chosen."""
        content = b"".join(points.tobytes() for points in self.roi.points_mm)
        return hashlib.sha256(content + bytes([self.roi.exclusive])).hexdigest()


@dataclass(frozen=True)
class _Prepared:
    """A folder of cases; patients: the PatientID of each that is from DICOM, by case."""

    folder: Path
    patients: Mapping[str, str]


def _of_several_cases(patients: Mapping[str, str]) -> list[tuple[str, ...]]:
    """The cases of each patient who has several; they are learnt from or judged on together.

    One PatientID in all of them is what some programs give to whomever they make anonymous.
    """
    groups: dict[str, list[str]] = {}
    for case, patient in sorted(patients.items()):
        groups.setdefault(patient or case, []).append(case)
    several = [tuple(cases) for cases in groups.values() if len(cases) > 1]
    if several and len(groups) == 1:
        sys.stderr.write(
            f"warning: all {len(patients)} CT bear one PatientID: each is taken for a patient of "
            "its own; where some are of one patient, name them in the recipe's same_patient\n"
        )
        return []
    return several


def prepared(data: Path, cache: Path, choice: RoiChoice = LIVER) -> Path:
    """Return data, or cache with DICOM cases converted to folders named by RTSTRUCT UID.

    choice: which ROI is the liver; each case's is told on standard error.
    Raises TrainingRefused where CT and RTSTRUCT do not pair, or with every outline that cannot be
    read or does not fit its CT.
    """
    return _prepared(data, cache, choice).folder


def _prepared(data: Path, cache: Path, choice: RoiChoice) -> _Prepared:
    series, structures = _cts_and_structures(data)
    if not series and not structures:
        if choice != LIVER:
            raise TrainingRefused(f"{data} holds no RTSTRUCT, so there is no ROI to choose")
        return _Prepared(data, {})
    if images := sorted(data.rglob("*.nii*")):
        raise TrainingRefused(f"{data} holds DICOM and NIfTI ({images[0]}): give one of them")
    with Refusals() as refusals:
        outlines = [found for one in structures for found in refusals.but(_outline, one, choice)]
    pairs = _pairs(series, outlines)
    cache.mkdir(parents=True, exist_ok=True)
    for stale in {path.name for path in cache.iterdir()} - {outline.uid for outline in outlines}:
        shutil.rmtree(cache / stale)
    with Refusals() as refusals:
        for outline, files in tqdm(pairs, unit="case", desc="DICOM", disable=None):
            tqdm.write(f"{outline.path}: the liver is ROI {outline.roi.name!r}", file=sys.stderr)
            folder = cache / outline.uid
            if not _is_made_from(outline, folder):
                shutil.rmtree(folder, ignore_errors=True)
                refusals.but(_convert, outline, files, folder)
    return _Prepared(cache, {outline.uid: files[0].patient for outline, files in pairs})


def _cts_and_structures(data: Path) -> tuple[dict[str, list[DicomFile]], list[DicomFile]]:
    """Return the CT files by SeriesInstanceUID, and the structure sets; others are not for us."""
    try:
        files, _ = dicom_files(data) if data.is_dir() else ([], ())
    except SeriesRefused as refusal:
        raise TrainingRefused(str(refusal)) from refusal
    series: dict[str, list[DicomFile]] = {}
    for one in files:
        if one.is_ct:
            series.setdefault(one.series_uid, []).append(one)
    return series, [one for one in files if one.sop_class_uid == RTStructureSetStorage]


def _outline(file: DicomFile, choice: RoiChoice) -> _Outline:
    try:
        path, structures = read_outlines(Path(str(file.path)))
        with refusing_damaged(path):
            uid, series_uids = str(structures.SOPInstanceUID), referenced_series(structures)
        words = described(structures, path)
        return _Outline(path, words, uid, series_uids, roi_of(structures, path, choice))
    except LiverError as refusal:
        raise TrainingRefused(str(refusal)) from refusal


def _pairs(
    series: dict[str, list[DicomFile]], outlines: Sequence[_Outline]
) -> list[tuple[_Outline, list[DicomFile]]]:
    outlined: dict[str, _Outline] = {}
    for outline in outlines:
        uid = _series_of(outline, series)
        if uid in outlined:
            raise TrainingRefused(
                f"{outline.words} and {outlined[uid].words} outline the same CT: keep one"
            )
        outlined[uid] = outline
    for uid, files in series.items():
        if uid not in outlined:
            raise TrainingRefused(f"{files[0].path.parent} has no RTSTRUCT for CT series {uid}")
    return [(outline, series[uid]) for uid, outline in outlined.items()]


def _series_of(outline: _Outline, series: dict[str, list[DicomFile]]) -> str:
    """The CT series that the set refers to; where it refers to none, the one of its frame."""
    if outline.series_uids:
        found, how = set(outline.series_uids & series.keys()), "refers to"
        if not found:
            missing = ", ".join(sorted(outline.series_uids))
            raise TrainingRefused(f"{outline.path} outlines CT series {missing}, which is missing")
    else:
        frame, how = outline.roi.frame, "names no CT series, and in its frame of reference lie"
        found = {uid for uid, files in series.items() if frame and files[0].frame == frame}
    if len(found) != 1:
        raise TrainingRefused(f"{outline.path} {how} {len(found)} CT series: it must be one")
    return next(iter(found))


def _is_made_from(outline: _Outline, folder: Path) -> bool:
    try:
        return (folder / _MADE_FROM).read_text() == outline.digest
    except OSError:
        return False


def _convert(outline: _Outline, files: Sequence[DicomFile], folder: Path) -> None:
    """Write ct.nii.gz and liver.nii.gz; the folder appears only when both are complete."""
    try:
        series = read_ct_series((one.read() for one in files), min_slices=MINIMUM_SLICES)
    except SeriesRefused as refusal:
        raise TrainingRefused(f"{files[0].path.parent}: {refusal}") from refusal
    liver = _liver_mask(outline, series)
    part = folder.with_suffix(".part")
    part.mkdir(exist_ok=True)
    (part / _MADE_FROM).write_text(outline.digest)
    write_case(part, series, liver)
    part.rename(folder)


def write_case(folder: Path, series: CtSeries, liver: NDArray[np.bool_]) -> None:
    """Write pixels, where they lie, and the liver: nothing else of a CT is in a case."""
    limits = np.iinfo(np.int16)
    hu = np.clip(np.rint(series.volume.hu), limits.min, limits.max).astype(np.int16)
    write_nifti(folder / CT, hu, series.volume.grid)
    write_nifti(folder / LIVER_MASK, liver.astype(np.uint8), series.volume.grid)


def _liver_mask(outline: _Outline, ct: CtSeries) -> NDArray[np.bool_]:
    try:
        found = outline_of(outline.roi, ct, outline.path)
        mask = mask_of(found, ct.volume, outline.path)
    except OutlineRefused as refusal:
        raise TrainingRefused(str(refusal)) from refusal
    for warning in found.warnings:
        tqdm.write(f"warning: {outline.path}: {warning}", file=sys.stderr)
    refuse_unlearnable(mask, ct, outline.path)
    return mask


def refuse_unlearnable(mask: NDArray[np.bool_], ct: CtSeries, path: Path) -> None:
    """TrainingRefused for an outline of which a network would learn something wrong."""
    if why := no_liver_because(mask, ct.volume.grid):
        raise TrainingRefused(f"{path} {why}")
    gap = first_gap(mask[list(ct.volume.own_slices)])
    if gap is not None:
        raise TrainingRefused(
            f"{path} leaves out slice {gap + 1} between outlined ones: a network would "
            "learn that there is no liver; interpolate the outlines first"
        )
