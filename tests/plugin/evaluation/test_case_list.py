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
        "one, ct/one ,/abs/rs.dcm,^Liver$,a.nii,111.5,1.75,70,assumed",
        "two,ct2,rs2.dcm,,,,,,",
    )
    one, two = read_case_list(path)
    assert (one.ct, one.reference, one.other) == (
        tmp_path / "ct/one",
        Path("/abs/rs.dcm"),
        tmp_path / "a.nii",
    )
    assert (one.roi, one.tumour_ml, one.height_m, one.origin) == ("^Liver$", 111.5, 1.75, "assumed")
    assert (two.roi, two.other, two.tumour_ml, two.origin) == ("liver", None, None, "")


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
        ([HEAD + ",roi", "a,b,c,("], "roi is no regular expression"),
        ([HEAD + ",height_m,origin", "a,b,c,1.75 m,x"], "line 2: height_m is not a number"),
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
