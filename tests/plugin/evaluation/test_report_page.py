"""report.html as people read it: on a phone, with n, and marked what the network learnt from."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from orthanc_liver.evaluation.case_list import CaseListRefused, read_case_list
from orthanc_liver.evaluation.html_report import About, write_report
from orthanc_liver.evaluation.measure import Measured
from tests.support.axe import serious_faults
from tests.support.browser import DESKTOP, PHONE, Browser, browser, needs_browser
from tests.support.scripted_engine import tiny_png

HEAD = "case,ct,reference,other,learnt\n"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cases that another tool outlined; the network learnt from one of them."""
    folder = tmp_path_factory.mktemp("evaluated")
    lines, results = [], []
    for number, learnt in enumerate(["yes", "", "no"], 1):
        case = f"a-case-of-a-hospital-with-a-long-name-{number}"
        lines.append(f"{case},ct,liver,other,{learnt}\n")
        figures = {one.name: 0.9 + 0.01 * number for one in fields(Measured)}
        volumes = {"reference_ml": 1500.0 + number, "age_years": None}
        results.append({"case": case, **volumes, "other": figures | {"liver_ml": 1490.0}})
        picture = folder / "out" / "cases" / case / "overlay.png"
        picture.parent.mkdir(parents=True)
        picture.write_bytes(tiny_png())
    (folder / "cases.csv").write_text(HEAD + "".join(lines))
    cases = read_case_list(folder / "cases.csv")
    write_report(cases, results, About({"atlas": "other"}, None), folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


def test_n_and_what_was_learnt_from_are_told(report: Path) -> None:
    html = (report / "report.html").read_text()
    assert "3 cases, n = 3 measured, 0 failed" in html
    assert "learnt from 1 of the 3 cases" in html
    assert html.count("(learnt from)") == 1
    rows = {
        row["metric"]: row["n"]
        for row in csv.DictReader((report / "table.csv").read_text().splitlines())
    }
    assert (rows["DSC"], rows["DSC, without cases learnt from"]) == ("3", "2")
    results = list(csv.DictReader((report / "results.csv").read_text().splitlines()))
    assert [row["is_learnt"] for row in results] == ["True", "False", "False"]


def test_learnt_is_yes_or_no(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_text(HEAD + "one,ct,liver,other,perhaps\n")
    with pytest.raises(CaseListRefused, match="line 2: learnt must be yes, no or empty"):
        read_case_list(path)


@needs_browser
@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_it_fits(report: Path, window: Browser, size: tuple[int, int]) -> None:
    window.resize(size)
    window.open((report / "report.html").as_uri())
    window.see("h1", "evaluation")
    window.screenshot(f"report-{size[0]}")
    assert window.fits(size)
    assert serious_faults(window) == []
