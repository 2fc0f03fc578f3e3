"""What segment --list does: a folder of results for each CT, and one table of all of them.

The table is made of the reports in those folders, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liver_unet.whole_file import whole_file
from orthanc_liver import __version__
from orthanc_liver.cli.outlining import OneCt, Outlining
from orthanc_liver.cli.progress import TerminalProgress
from orthanc_liver.cli.result_folder import REPORT, OutputRefused, ResultFolder
from orthanc_liver.dicom.ct_folder import files_below, series_in
from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.evaluation.case_list import CaseListRefused, read_rows
from orthanc_liver.liver_errors import LiverError, SeriesRefused

if TYPE_CHECKING:
    from liver_unet.segmenter import Segmenter

TABLE = "results.csv"
_ANSWERS = (Outcome.SEGMENTED, Outcome.NO_LIVER)


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    case: str
    outcome: str
    liver_ml: float | None
    grade: str
    reason: str
    warnings: int
    series: str
    ct: str

    @property
    def is_unanswered(self) -> bool:
        return self.outcome not in _ANSWERS


def check_places(given: Path, out: Path) -> None:
    """Raises OutputRefused where results would be taken for studies, or a list written over."""
    listed, results = given.resolve(), out.resolve()
    if results == listed or listed in results.parents or listed == results / TABLE:
        raise OutputRefused(f"{out} lies in {given}: name another folder for --out")


def studies_in(given: Path, min_slices: int) -> dict[str, OneCt]:
    """Each CT by the name of its folder of results: every entry of a folder, or every line of a
    list. An entry that holds several CT series counts once for each. Raises CaseListRefused."""
    if not given.is_dir():
        return {
            row["case"]: OneCt(given.parent / row["ct"], row.get("series", ""), min_slices)
            for _, row in read_rows(given, ("case", "ct"))
        }
    entries = sorted(one for one in given.iterdir() if not one.name.startswith("."))
    found = {name: ct for one in entries for name, ct in _in_entry(one, min_slices)}
    if not found:
        raise CaseListRefused(f"{given} is empty: name a folder of studies, or a CSV file")
    return found


def _in_entry(entry: Path, min_slices: int) -> Iterator[tuple[str, OneCt]]:
    try:
        series = series_in(entry, min_slices)
    except SeriesRefused:
        series = []  # outlining it says why
    if len(series) < 2:
        yield entry.name, OneCt(entry, "", min_slices)
    for uid in series if len(series) > 1 else ():
        yield f"{entry.name}/{uid}", OneCt(entry, uid, min_slices)


def outline_all(
    studies: dict[str, OneCt],
    out: Path,
    segmenter: Callable[[], Segmenter],
    progress: TerminalProgress,
) -> Sequence[Row]:
    """Outline each CT that has no result of these weights yet; the table is written after each."""
    rows: list[Row] = []
    outlining = Outlining(segmenter, progress.show)
    for name, ct in studies.items():
        report = _report(name, ct, out / name, outlining, segmenter)
        rows.append(_row(name, ct, report))
        _write(rows, out / TABLE)
        progress.next()
        progress.say(_told(rows[-1]))
    return rows


def _report(
    name: str, ct: OneCt, folder: Path, outlining: Outlining, segmenter: Callable[[], Segmenter]
) -> dict[str, Any]:
    source = _fingerprint(ct)
    kept = _kept(folder / REPORT)
    if (
        kept.get("source") == source
        and kept.get("outcome") in _ANSWERS
        and kept["software_version"] == __version__
        and _is_by(segmenter(), kept)
    ):
        return kept
    out = ResultFolder(folder, ct.path)
    try:
        report = outlining.outline(ct, out) | {"source": source}
    except LiverError:
        return _kept(folder / REPORT)
    except Exception as error:  # noqa: BLE001 whatever one CT raises, the others go on
        out.end_without_result(
            Outcome.FAILED, f"a fault of orthanc-liver: {type(error).__name__}: {error}"
        )
        return _kept(folder / REPORT)
    out.report(report)
    return report


def _is_by(segmenter: Segmenter, report: dict[str, Any]) -> bool:
    made_with = [(report[name] or {}).get("sha256") for name in ("model", "coarse_model")]
    networks = (segmenter.fine, segmenter.coarse)
    return made_with == [one.spec.sha256 if one else None for one in networks]


def _fingerprint(ct: OneCt) -> str:
    """Another one when anything of the input has changed, as far as the file system tells."""
    digest = hashlib.sha256(f"{ct.series} {ct.min_slices}".encode())
    try:
        files = files_below(ct.path) if ct.path.is_dir() else [ct.path]
        for file in files:
            about = file.stat()
            told = f"\n{file.relative_to(ct.path)} {about.st_size} {about.st_mtime_ns}"
            digest.update(told.encode(errors="surrogateescape"))
    except (OSError, SeriesRefused):
        return ""  # reading it will fail too, and say why
    return digest.hexdigest()


def _kept(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def _row(name: str, ct: OneCt, report: dict[str, Any]) -> Row:
    return Row(
        case=name,
        outcome=report["outcome"],
        liver_ml=report["liver_ml"],
        grade=report.get("grade", ""),
        reason=report.get("reason", "") or report.get("no_liver", {}).get("reason", ""),
        warnings=len(report["warnings"]),
        series=ct.series,
        ct=str(ct.path),
    )


def _told(row: Row) -> str:
    what = f"{row.liver_ml:.1f} mL {row.grade}" if row.liver_ml is not None else row.reason
    return f"{row.case}: {row.outcome}: {what.strip()}"


def _write(rows: Sequence[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Row))
        writer.writerows(astuple(row) for row in rows)
