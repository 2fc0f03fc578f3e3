"""The comparisons as a table, which any program for tables opens."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from typing import Any

CSV = "text/csv; charset=utf-8"
COLUMNS = (
    *("Time", "Series", "Study", "Instance", "SopInstanceUid", "Kind", "Roi", "Approval"),
    *("DrawnAt", "StoredBy", "Origin", "Job", "Model", "Sha256", "Grade", "Dsc", "MdaMm", "Rv"),
    *("Ra", "OursMl", "TheirsMl", "WorstSlice", "WorstMl", "IsCase", "Rules", "Warnings", "Reason"),
    *("IsShadow", "Against"),
)


def quality_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """One line for each; the columns in the names of the command line's tables."""
    lines = io.StringIO()
    table = csv.writer(lines, lineterminator="\n")
    table.writerow([re.sub(r"(?<=[a-z])(?=[A-Z])", "_", one).lower() for one in COLUMNS])
    for row in rows:
        table.writerow([_field(row[name]) for name in COLUMNS])
    return lines.getvalue()


def _field(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        value = "; ".join(map(str, value))
    text = "" if value is None else str(value)
    # A program for tables would take it for a formula.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
