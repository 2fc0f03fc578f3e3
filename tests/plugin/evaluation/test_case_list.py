"""The case list: read whole, or refused with the line that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from orthanc_liver.evaluation.case_list import CaseListRefused, read_case_list

HEAD = "case,ct,reference"


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "cases.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def test_a_list_as_a_spreadsheet_writes_it(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        HEAD + ",roi,other,tumour_ml,height_m,weight_kg,origin",
        "one, ct/one ,/abs/rs.dcm,/^Liver$/,a.nii,111.5,1.75,70,assumed",
        "two,ct2,rs2.dcm,,,,,,",
    )
    one, two = read_case_list(path)
    assert (one.ct, one.reference, one.other) == (
        tmp_path / "ct/one",
        Path("/abs/rs.dcm"),
        tmp_path / "a.nii",
    )
    assert (one.roi, one.tumour_ml, one.height_m) == (("/^Liver$/",), 111.5, 1.75)
    assert (one.origin, two.origin) == ("assumed", "")
    assert (two.roi, two.other, two.tumour_ml) == ((), None, None)
    assert [case.roi for case in read_case_list(path, ["Leber"])] == [one.roi, ("Leber",)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("mark", [";", "\t", ","])
def test_a_list_as_spreadsheets_elsewhere_write_it(
    mark: str, encoding: str, tmp_path: Path
) -> None:
    path = tmp_path / "cases.csv"
    lines = ["Case,CT, Reference ,ROI,Series", 'müller,"ct,1",rs.dcm,Leber,1.2.3', ""]
    text = "\r\n".join(lines) + "\r\n"
    text = text.replace('"ct,1"', "COMMA").replace(",", mark).replace("COMMA", '"ct,1"')
    if encoding == "utf-16-le":
        text = "\N{BYTE ORDER MARK}" + text
    path.write_bytes(text.encode(encoding))
    [one] = read_case_list(path)
    assert (one.case, one.ct, one.roi) == ("müller", tmp_path / "ct,1", ("Leber",))
    assert one.series == "1.2.3"


def test_a_list_in_another_character_set_is_refused_by_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "cases.csv"
    path.write_bytes((HEAD + "\nmüller,b,c\n").encode("latin-1"))
    with pytest.raises(CaseListRefused, match="CSV file in UTF-8 or UTF-16"):
        read_case_list(path)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([HEAD], "lists no case"),
        (["case,ct", "a,b"], "lacks reference"),
        ([HEAD + ",referenz", "a,b,c,d"], "unknown: referenz"),
        ([HEAD, "a,b,"], "line 2: reference is empty"),
        ([HEAD, "a,b,c", "a,b,c"], "lists the case a twice"),
        ([HEAD, "../a,b,c"], "files are named after it"),
        ([HEAD, "a,b,c,d"], "line 2: it has not as many fields"),
        ([HEAD + ",roi", "a,b,c,/(/"], "line 2: roi: /(/ is no regular expression"),
        ([HEAD + ",height_m,origin", "a,b,c,1.75 m,x"], "line 2: height_m is not a number"),
        (["case;ct;reference;height_m;origin", "a;b;c;1,75;x"], "such as 1.75 with a point"),
        ([HEAD + ",CT", "a,b,c,d"], "names a column twice"),
        ([HEAD + ",height_m,origin", "a,b,c,1.75,"], "height_m without origin"),
    ],
)
def test_what_is_wrong_is_said(lines: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(CaseListRefused) as refused:
        read_case_list(written(tmp_path, *lines))
    assert sentence in str(refused.value)


def test_no_list(tmp_path: Path) -> None:
    with pytest.raises(CaseListRefused, match="cannot be read"):
        read_case_list(tmp_path / "none.csv")
