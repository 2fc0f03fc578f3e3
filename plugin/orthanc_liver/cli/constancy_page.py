"""The page of a constancy check: one sheet, to be read, printed and signed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from orthanc_liver import NOTE

if TYPE_CHECKING:
    from orthanc_liver.cli.constancy_check import Compared, Limits

_STYLE = """
@page { size: A4; margin: 15mm; }
body { font: 14px/1.45 system-ui, sans-serif; max-width: 48rem; margin: auto; padding: 1rem; }
h1 { font-size: 1.35rem; } h2 { font-size: 1.05rem; margin: 1.2rem 0 .3rem; }
table { border-collapse: collapse; width: 100%; font-size: 12px; }
th, td { border-bottom: 1px solid #c9ced3; padding: .2rem .5rem; text-align: left;
  overflow-wrap: anywhere; vertical-align: top; }
.no { color: #a02030; font-weight: 600; } .sign td { height: 2.4rem; }
"""


def page_of(
    accepted: str,
    checked: str,
    about: Mapping[str, Mapping[str, str]],
    compared: Sequence[Compared],
    limits: Limits,
) -> str:
    """Return the page as HTML. about: the installation "then" and "now"."""
    wrong = sum(bool(one.fault) for one in compared)
    verdict = (
        f'<p class="no">NOT constant: {wrong} of {len(compared)} CT beyond the limits.</p>'
        if wrong
        else f"<p><b>Constant</b>: {len(compared)} of {len(compared)} CT within the limits.</p>"
    )
    changed = [name for name in about["now"] if about["then"].get(name) != about["now"][name]]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
            f"<title>Constancy of orthanc-liver</title>\n<style>{_STYLE}</style>",
            f"<h1>Constancy of orthanc-liver</h1>\n<p>{escape(NOTE)}</p>",
            f"<p>Accepted {escape(accepted)}, checked {escape(checked)}.</p>",
            verdict,
            f"<p>Limits: {limits.volume_percent:g} % of the volume, DSC {limits.dsc:g} with the "
            "accepted outline. Time has none.</p>",
            _table(_HEADINGS, (_row(one) for one in compared)),
            "<h2>Changed since the acceptance</h2>",
            _table(
                ("what", "at acceptance", "now"),
                ((name, about["then"].get(name, ""), about["now"][name]) for name in changed),
            )
            if changed
            else "<p>Nothing.</p>",
            "<h2>Installation</h2>",
            _table(("what", "now"), about["now"].items()),
            "<h2>Judged by</h2>",
            '<table class="sign"><tr><th>use may go on: yes / no<th>name<th>date<th>signature'
            "<tr><td><td><td><td></table>",
        ]
    )


_HEADINGS = ("CT", "accepted, mL", "now, mL", "volume", "DSC", "accepted, s", "now, s", "verdict")


def _row(one: Compared) -> tuple[str, ...]:
    return (
        one.case,
        _ml(one.then["liver_ml"]),
        _ml(one.now["liver_ml"]),
        "" if one.percent is None else f"{one.percent:+.3f} %",
        "" if one.dsc is None else f"{one.dsc:.5f}",
        f"{one.then['seconds']:.1f}",
        f"{one.now['seconds']:.1f}",
        one.fault or "the same",
    )


def _ml(volume_ml: Any) -> str:
    return "none" if volume_ml is None else f"{volume_ml:.1f}"


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["<table><tr>" + "".join(f"<th>{escape(one)}" for one in headings)]
    lines += ["<tr>" + "".join(f"<td>{escape(cell)}" for cell in row) for row in rows]
    return "\n".join([*lines, "</table>"])
