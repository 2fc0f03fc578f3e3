"""What a person reads of a result, as pages of a PDF; by fpdf2."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

# Takes a second to import, and most jobs write no PDF: whoever imports this module needs one.
from fpdf import FPDF
from PIL import Image

from orthanc_liver.dicom.captions import FOR_REVIEW, grade_line, in_letters_of
from orthanc_liver.dicom.slice_pictures import WHITE, OutlinedSlices, with_text_below
from orthanc_liver.engine.protocol import DOUBTFUL

_LETTERS = "latin-1"  # of the fonts that every reader of PDF has
_UNPRINTED = "Letters that these pages lack are shown as ?; the DICOM header has them."
_BLACK, _RED = (0, 0, 0), (190, 0, 0)
_ACROSS, _DOWN = 4, 5
_CELL_PIXELS = 320
_MARGIN_MM, _LINE_MM = 15.0, 5.0


@dataclass(frozen=True, eq=False)
class Sheet:
    """What stands on the pages. of_whom: the patient, and grade: on every page; lines: under the
    title, the first one large; activity: as Activity.as_text tells it, empty where there is
    none."""

    of_whom: str
    grade: str
    title: str
    lines: Sequence[str]
    warnings: Sequence[str]
    planes_png: bytes
    slices: OutlinedSlices
    activity: str


class _Pages(FPDF):
    """A4 with patient and grade above, and what it is not for below."""

    def __init__(self, sheet: Sheet) -> None:
        super().__init__(format="A4")
        self._sheet = sheet
        self.is_short_of_letters = False
        self.set_margin(_MARGIN_MM)
        self.set_auto_page_break(True, margin=_MARGIN_MM + _LINE_MM)

    def header(self) -> None:
        self.alias_nb_pages(None)  # type: ignore[arg-type] # fpdf2's own way to put it off
        self.write_line(self._sheet.of_whom, 10, "B")
        self.set_text_color(*(_RED if self._sheet.grade == DOUBTFUL else _BLACK))
        self.write_line(grade_line(self._sheet.grade))
        self.set_text_color(*_BLACK)
        self.ln(1)

    def footer(self) -> None:
        self.set_y(-_MARGIN_MM)
        self.set_font("helvetica", size=8)
        self.alias_nb_pages()  # here only: {nb} in a name is no number of pages
        page = f"{FOR_REVIEW} Not a medical device.   Page {self.page_no()} of {{nb}}"
        self.cell(0, _LINE_MM, page, align="C")

    def write_line(
        self, text: str, points: int = 10, style: str = "", family: str = "helvetica"
    ) -> None:
        """A paragraph from the left margin on."""
        shown = in_letters_of(_LETTERS, text)
        self.is_short_of_letters |= shown.count("?") > text.count("?")
        self.set_font(family, style, points)
        self.multi_cell(0, points / 2, shown, align="L", new_x="LMARGIN", new_y="NEXT")


def sheet_pdf(sheet: Sheet, created: datetime) -> bytes:
    """The pages: result, slices and, where there is one, the activity."""
    pages = _Pages(sheet)
    pages.set_creation_date(created)
    pages.set_title(in_letters_of(_LETTERS, sheet.title))
    pages.add_page()
    pages.write_line(sheet.title, 16, "B")
    for number, line in enumerate(sheet.lines):
        pages.write_line(line, 10 if number else 14, "" if number else "B")
    pages.ln(2)
    pages.image(io.BytesIO(sheet.planes_png), w=pages.epw)
    pages.ln(2)
    for warning in sheet.warnings:
        pages.write_line(f"Warning: {warning[:1].upper()}{warning[1:]}")
    pages.add_page()
    shown = sheet.slices.with_liver(_ACROSS * _DOWN)
    pages.write_line(_about(shown), 12, "B")
    left_mm = pages.page_break_trigger - pages.get_y() - 1
    pages.image(_contact_sheet(sheet.slices, shown), w=pages.epw, h=left_mm, keep_aspect_ratio=True)
    if sheet.activity:
        _add_activity(pages, sheet.activity)
    if pages.is_short_of_letters:
        pages.write_line(_UNPRINTED, 8)
    return bytes(pages.output())


def _about(shown: range) -> str:
    which = f"one of every {shown.step}" if shown.step > 1 else "all"
    return f"Slices {shown[0] + 1} to {shown[-1] + 1}, {which}"


def _contact_sheet(slices: OutlinedSlices, shown: range) -> Image.Image:
    cells = []
    for number in shown:
        small = Image.fromarray(slices.picture_with_sides(number))
        small.thumbnail((_CELL_PIXELS, _CELL_PIXELS))
        cells.append((np.asarray(small), [(f"Slice {number + 1}", WHITE)]))
    pictures = with_text_below(cells)
    height, width, _ = pictures[0].shape
    rows = -(-len(pictures) // _ACROSS)
    whole = Image.new("RGB", (_ACROSS * width, rows * height), WHITE)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, _ACROSS)
        whole.paste(Image.fromarray(picture), (column * width, row * height))
    return whole


def _add_activity(pages: _Pages, activity: str) -> None:
    """The sheet as the command line prints it, for its tables in letters of one width; its first
    line is the title."""
    pages.add_page()
    title, *lines = activity.splitlines()
    pages.write_line(title, 16, "B")
    for line in lines:
        if line:
            pages.write_line(line, 8, "" if line.startswith((" ", "*", ">")) else "B", "courier")
        else:
            pages.ln(2)
