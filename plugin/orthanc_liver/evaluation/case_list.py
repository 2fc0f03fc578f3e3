"""The list of cases, a CSV file: every line checked before the first case is measured."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orthanc_liver.dicom.roi_choice import OutlineRefused, RoiChoice
from orthanc_liver.liver_errors import LiverError

REQUIRED = ("case", "ct", "reference")
OPTIONAL = ("series", "roi", "other", "other_roi", "tumour_ml", "height_m", "weight_kg", "origin")
_PATIENT = ("tumour_ml", "height_m", "weight_kg")


class CaseListRefused(LiverError):
    """The list cannot be worked through as it stands."""


@dataclass(frozen=True)
class ListedCase:
    """One line. Paths in the file are relative to the file; roi and other_roi are words of
    dicom/roi_choice.py, none where the line has none.

    series: the CT's SeriesInstanceUID, where its folder holds several. tumour_ml, height_m and
    weight_kg come together with origin, which says where they are from.
    """

    case: str
    ct: Path
    reference: Path
    series: str = ""
    roi: tuple[str, ...] = ()
    other: Path | None = None
    other_roi: tuple[str, ...] = ()
    tumour_ml: float | None = None
    height_m: float | None = None
    weight_kg: float | None = None
    origin: str = ""


def read_case_list(path: Path, roi: Sequence[str] = ()) -> list[ListedCase]:
    """Return the cases in the file's order; raises CaseListRefused with the line's number.

    roi: what a reference is called where the line does not say it.

    Commas, semicolons or tabs part the fields, whichever the first line has; capitals of the
    columns do not matter.
    """
    cases = [_case(where, given, path.parent) for where, given in read_rows(path, REQUIRED)]
    return [replace(one, roi=one.roi or tuple(roi)) for one in cases]


def read_rows(path: Path, required: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Where each line stands and what it says by column; raises CaseListRefused.

    required: the columns that no line may leave empty; "case" is one, and names files.
    """
    try:
        lines = io.StringIO(_text(path), newline="")
        reader = csv.reader(lines, delimiter=_delimiter(lines.readline()))
        lines.seek(0)
        columns = [name.strip().lower() for name in next(reader, [])]
        rows = [(reader.line_num, fields) for fields in reader if fields]
    except (OSError, UnicodeError, csv.Error) as error:
        raise CaseListRefused(
            f"{path} cannot be read as a CSV file in UTF-8 or UTF-16: {error}"
        ) from error
    _check_columns(path, columns, required)
    found = [_given(f"{path}, line {number}", columns, fields, required) for number, fields in rows]
    if not found:
        raise CaseListRefused(f"{path} lists no case")
    seen: set[str] = set()
    for _, given in found:
        if given["case"] in seen:
            raise CaseListRefused(f"{path} lists the case {given['case']} twice: names must differ")
        seen.add(given["case"])
    return found


def _text(path: Path) -> str:
    content = path.read_bytes()
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if is_utf_16 else "utf-8-sig")


def _delimiter(first_line: str) -> str:
    """No column's name holds any of them."""
    return next((mark for mark in ";\t" if mark in first_line), ",")


def _check_columns(path: Path, columns: list[str], required: Sequence[str]) -> None:
    missing = [name for name in required if name not in columns]
    unknown = [name for name in columns if name not in REQUIRED + OPTIONAL]
    if len(set(columns)) < len(columns):
        raise CaseListRefused(f"{path} names a column twice")
    if missing or unknown:
        wrong = "it lacks " + ", ".join(missing) if missing else "unknown: " + ", ".join(unknown)
        raise CaseListRefused(
            f"{path}: {wrong}; its first line must name the columns "
            f"{', '.join(required)} and optionally {', '.join(OPTIONAL)}"
        )


def _given(
    where: str, columns: list[str], fields: list[str], required: Sequence[str]
) -> tuple[str, dict[str, str]]:
    if len(fields) != len(columns):
        raise CaseListRefused(f"{where}: it has not as many fields as the first line")
    row = zip(columns, fields, strict=True)
    given = {name: text.strip() for name, text in row if text.strip()}
    for name in required:
        if name not in given:
            raise CaseListRefused(f"{where}: {name} is empty")
    if not re.fullmatch(r"\w[\w.-]*", given["case"]):
        raise CaseListRefused(
            f"{where}: the case's name must be letters, digits, dot, hyphen and underscore, "
            "because files are named after it"
        )
    return where, given


def _case(where: str, given: dict[str, str], folder: Path) -> ListedCase:
    read: dict[str, Any] = dict(given)
    for name in ("ct", "reference", "other"):
        if name in given:
            read[name] = folder / given[name]
    for name in ("roi", "other_roi"):
        if name in given:
            _check_choice(where, name, given[name])
            read[name] = (given[name],)
    return ListedCase(**(read | _patient(where, given)))


def _patient(where: str, given: dict[str, str]) -> dict[str, float]:
    numbers = {name: _number(where, name, given[name]) for name in _PATIENT if name in given}
    if numbers and "origin" not in given:
        raise CaseListRefused(
            f"{where}: {', '.join(numbers)} without origin: say where the numbers are from, "
            'if only "assumed"'
        )
    return numbers


def _number(where: str, name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise CaseListRefused(
            f"{where}: {name} is not a number, such as 1.75 with a point"
        ) from error


def _check_choice(where: str, name: str, word: str) -> None:
    try:
        RoiChoice.of([word])
    except OutlineRefused as refusal:
        raise CaseListRefused(f"{where}: {name}: {refusal}") from refusal
