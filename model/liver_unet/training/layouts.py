"""Find training cases in the folder layouts that people have.

    LiTS          volume-N.nii[.gz] and segmentation-N.nii[.gz], at any depth
    Decathlon     dataset.json that lists images and labels (Medical Segmentation Decathlon)
    case folders  NAME/ct.nii.gz, NAME/liver.nii.gz, optionally organs.nii.gz with organs.json

Label 2 is tumours inside the liver and counts as liver.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from liver_unet.model_errors import TrainingRefused
from liver_unet.training.refusals import Refusals


@dataclass(frozen=True)
class CaseFiles:
    """Where one patient's images lie; organs is there where somebody outlined the neighbours."""

    name: str
    ct: Path
    liver: Path
    organs: Path | None = None


def find_cases(data: Path) -> list[CaseFiles]:
    """Return the cases below a folder by name; every image named exists; raises TrainingRefused."""
    if not data.is_dir():
        raise TrainingRefused(f"{data} is not a folder: name the folder that holds the cases")
    found = {name: cases for name, read in _LAYOUTS.items() if (cases := read(data))}
    if not found:
        raise TrainingRefused(
            f"{data} holds no case: expected volume-N.nii with segmentation-N.nii (LiTS), "
            "dataset.json (Decathlon), folders with ct.nii.gz and liver.nii.gz, "
            "or DICOM CT with an RTSTRUCT"
        )
    if len(found) > 1:
        raise TrainingRefused(
            f"{data} holds cases in two layouts, {' and '.join(found)}: put each in its own folder"
        )
    cases = sorted(next(iter(found.values())), key=lambda case: case.name)
    for before, case in itertools.pairwise(cases):
        if before.name == case.name:
            raise TrainingRefused(told_twice(case, before))
    for case in cases:
        _refuse_unwritable(case)
    return cases


def told_twice(one: CaseFiles, other: CaseFiles) -> str:
    """For two cases of one name."""
    return (
        f"{one.ct} and {other.ct} are both case {one.name}: give each case once, and each patient "
        "a name of its own"
    )


def _refuse_unwritable(case: CaseFiles) -> None:
    """A case's name is written into tables and pictures."""
    try:
        case.name.encode()
    except UnicodeEncodeError as error:
        raise TrainingRefused(
            f"{ascii(str(case.ct))[1:-1]} has a name that is not UTF-8: rename it"
        ) from error


def _lits(data: Path) -> list[CaseFiles]:
    volumes = _numbered(data, "volume-")
    masks = _numbered(data, "segmentation-")
    with Refusals() as refusals:
        return [
            case
            for number in {**volumes, **masks}
            for case in refusals.but(_lits_case, number, volumes.get(number), masks.get(number))
        ]


def _lits_case(number: str, ct: Path | None, liver: Path | None) -> CaseFiles:
    if liver is None:
        raise TrainingRefused(f"{ct} has no mask: segmentation-{number}.nii is missing")
    if ct is None:
        raise TrainingRefused(f"{liver} has no CT: volume-{number}.nii is missing")
    return CaseFiles(f"volume-{number}", ct, liver)


def _numbered(data: Path, prefix: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(data.rglob(f"{prefix}*")):
        number = path.name.removeprefix(prefix).removesuffix(".gz").removesuffix(".nii")
        if not (number.isdigit() and path.name.endswith((".nii", ".nii.gz"))):
            continue
        if number in found:
            raise TrainingRefused(f"{path} and {found[number]} are the same number: keep one")
        found[number] = path
    return found


def _decathlon(data: Path) -> list[CaseFiles]:
    index = data / "dataset.json"
    if not index.exists():
        return []
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        labels = {int(number): str(name) for number, name in content["labels"].items()}
        pairs = [(str(pair["image"]), str(pair["label"])) for pair in content["training"]]
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise TrainingRefused(
            f"{index} is not a Decathlon index: it needs 'labels' by number and 'training' "
            f"with pairs of image and label ({type(error).__name__}: {error})"
        ) from error
    if labels.get(1, "").lower() != "liver":
        raise TrainingRefused(
            f"{index} calls label 1 {labels.get(1)!r}, not liver: these are masks of something else"
        )
    with Refusals() as refusals:
        cases = [case for pair in pairs for case in refusals.but(_decathlon_case, data, *pair)]
    if not cases:
        raise TrainingRefused(f"{index} lists no case under 'training'")
    return cases


def _decathlon_case(data: Path, image: str, label: str) -> CaseFiles:
    name = Path(image).name.removesuffix(".gz").removesuffix(".nii")
    case = CaseFiles(name, data / image, data / label)
    for path in (case.ct, case.liver):
        if not path.is_file():
            raise TrainingRefused(f"{path} is missing, though dataset.json lists it")
    return case


def _case_folders(data: Path) -> list[CaseFiles]:
    folders = sorted(path for path in data.iterdir() if path.is_dir())
    with Refusals() as refusals:
        return [
            case
            for folder in folders
            if any((folder / f"{name}.nii.gz").exists() for name in ("ct", "liver"))
            for case in refusals.but(_case_folder, folder)
        ]


def _case_folder(folder: Path) -> CaseFiles:
    ct, liver, organs = (folder / f"{n}.nii.gz" for n in ("ct", "liver", "organs"))
    if not liver.exists():
        raise TrainingRefused(f"{ct} has no mask: {liver} is missing")
    if not ct.exists():
        raise TrainingRefused(f"{liver} has no CT: {ct} is missing")
    if organs.exists() and not (folder / "organs.json").exists():
        raise TrainingRefused(f"{organs} has no names: {folder / 'organs.json'} is missing")
    return CaseFiles(folder.name, ct, liver, organs if organs.exists() else None)


_LAYOUTS: dict[str, Callable[[Path], list[CaseFiles]]] = {
    "LiTS": _lits,
    "Decathlon": _decathlon,
    "case folders": _case_folders,
}
