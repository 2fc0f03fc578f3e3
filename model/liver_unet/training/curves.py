"""Curves as CSV files that a killed and resumed training leaves as if never killed."""

from __future__ import annotations

import csv
from pathlib import Path

from liver_unet.whole_file import naming, whole_file


class Curve:
    """A CSV file whose first column is how many patches were seen."""

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path = path
        self._columns = ("patches", *columns)

    def begin(self, patches: int) -> None:
        """Forget rows after so many patches: the training goes on from there, writing them anew."""
        kept = [row for row in self._stored() if row[0].isdigit() and int(row[0]) <= patches]
        with whole_file(self.path) as part, part.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([self._columns, *kept])

    def append(self, *row: object) -> None:
        with naming(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(row)

    def rows(self) -> list[dict[str, str]]:
        """Every row by column name."""
        return [dict(zip(self._columns, row, strict=False)) for row in self._stored()[1:]]

    def _stored(self) -> list[list[str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return [row for row in csv.reader(file) if row]
