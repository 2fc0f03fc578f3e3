"""orthanc-liver activity: what it prints, and its error messages."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from liver_unet.nifti import write_nifti
from liver_unet.volume import Grid
from orthanc_liver.cli.exit_status import REFUSED
from orthanc_liver.cli.main import main
from orthanc_liver.dicom.ct_folder import read_ct
from orthanc_liver.dicom.roi_choice import LIVER
from orthanc_liver.evaluation.outlines import read_contour
from tests.support.case_writer import write_ct_folder, write_rtstruct
from tests.support.phantom import oriented, small_abdomen

RESIN = ["activity", "--method=resin", "--tumour-ml=150", "--height-m=1.75", "--weight-kg=70"]


def test_text_for_reading(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RESIN, "--liver-ml", "1800", "--lung-shunt", "0.12"]) == 0
    text = capsys.readouterr().out
    assert "activity: 1.39 GBq (1385 MBq)" in text
    assert "warning: the lung shunt, 12 %, is not below 10 %" in text
    assert "V_L = 1800 mL    liver volume, tumour included (given)" in text
    assert "For review by a physician; not a medical device." in text


def test_json_from_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    cut = "liver touches the top of the field of view: volume is a lower bound"
    report.write_text(json.dumps({"liver_ml": 1800.0, "warnings": [cut]}))
    assert main([*RESIN, "--report", str(report), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["ActivityGbq"] == pytest.approx(1.7314523472, abs=5e-11)
    assert cut in shown["Warnings"]
    origins = {one["Name"]: one["Origin"] for one in shown["Inputs"]}
    assert origins["LiverMl"] == "segmentation"
    assert origins["TumourMl"] == "given"


def test_words_and_a_perfused_volume(capsys: pytest.CaptureFixture[str]) -> None:
    glass = ["activity", "--method=glass", "--liver-ml=1800", "--dose-gy=120", "--lung-shunt=0"]
    assert main([*glass, "--perfused-ml=700", "--treatment=segmentectomy"]) == 0
    text = capsys.readouterr().out
    assert "activity: 1.73 GBq (1730 MBq)" in text
    assert "warning: the mean dose to the perfused volume, 120.0 Gy, should be at least 400" in text
    assert "guideline's treatments: segmentectomy" in text
    assert main([*glass, "--lobe-ml=700"]) == REFUSED
    assert "the method glass does not use: LobeMl" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "report", "sentence"),
    [
        (["--liver-ml", "1800"], '{"liver_ml": 1800}', "not both"),
        ([], '{"liver_ml": null}', "no liver found"),
        ([], '{"liver_ml": null, "outcome": "refused"}', "tells no volume (refused)"),
        ([], "no JSON", "cannot be read"),
        ([], None, "cannot be read"),
        (["--height-m", "175"], '{"liver_ml": 1800}', "looks like centimetres"),
        (["--lung-shunt", "nan"], '{"liver_ml": 1800}', "not a finite number"),
    ],
)
def test_what_is_refused_is_told_in_one_sentence(
    more: list[str],
    report: str | None,
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "report.json"
    if report is not None:
        path.write_text(report)
    assert main([*RESIN, "--report", str(path), *more]) == REFUSED
    told = capsys.readouterr()
    assert sentence in told.err
    assert told.err.count("\n") == 1
    assert not told.out


def test_the_tumour_from_somebodys_outline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phantom = oriented(small_abdomen(), "FFP")
    slices = write_ct_folder(tmp_path / "ct", phantom, "outlined tumour")
    tumour = np.zeros_like(phantom.liver)
    tumour[8:11, 20:32, 30:38] = True
    write_rtstruct(tmp_path / "rs.dcm", slices, tumour, "GTV 1")
    given = ["activity", "--method=resin", "--liver-ml=1800", "--height-m=1.75", "--weight-kg=70"]
    where = ["--ct", str(tmp_path / "ct"), "--rtstruct", str(tmp_path / "rs.dcm")]
    assert main([*given, *where, "--tumour-roi", "GTV 1", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    [found] = [one for one in shown["Inputs"] if one["Name"] == "TumourMl"]
    # marching squares at one half cut half a pixel off each slice's four corners
    pixels = 3 * (12 * 8 - 0.5)
    assert found["Value"] == pytest.approx(pixels * phantom.volume.grid.voxel_ml, rel=1e-3)
    assert "rs.dcm" in found["Origin"]
    for more, sentence in (
        ([*where, "--tumour-roi", "GTV"], "outlines nothing named 'GTV'; there are: 'GTV 1'"),
        ([*where, "--tumour-roi", "gtv 1"], "outlines nothing named 'gtv 1'"),
        ([*where, "--tumour-roi", "/GTV/"], "outlines nothing named '/GTV/'"),
        ([*where, "--tumour-roi", "GTV 1", "--tumour-ml", "5"], "not both"),
        (["--tumour-roi", "GTV 1"], "needs --rtstruct and --ct"),
    ):
        assert main([*given, *more]) == REFUSED
        assert sentence in capsys.readouterr().err


def test_a_liver_and_a_tumour_of_one_file_and_what_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phantom = oriented(small_abdomen(), "FFP")
    slices = write_ct_folder(tmp_path / "ct", phantom, "outlined tumour")
    tumour = np.zeros_like(phantom.liver)
    tumour[8:11, 20:32, 30:38] = True
    path = tmp_path / "rs.dcm"
    write_rtstruct(path, slices, tumour, "GTV")
    whole = pydicom.dcmread(path)
    where = ["--ct", str(tmp_path / "ct"), "--rtstruct", str(path), "--tumour-roi", "GTV"]
    asked = ["activity", "--method=resin", "--liver-ml=1800", "--height-m=1.75", "--weight-kg=70"]

    def told(change: Callable[[pydicom.Dataset], object]) -> str:
        changed = copy.deepcopy(whole)
        change(changed)
        changed.save_as(path)
        status = main([*asked, *where])
        output = capsys.readouterr()
        assert (status == 0) == (output.err == "")
        return output.out or output.err

    def contours(dataset: pydicom.Dataset) -> Any:
        return dataset.ROIContourSequence[0].ContourSequence

    once = told(lambda dataset: None)
    assert "contours" not in once.partition("Steps")[0]
    assert told(lambda dataset: contours(dataset).extend(contours(whole))) == once
    assert "no contour on slice 10" in told(lambda dataset: contours(dataset).pop(1))
    number = copy.deepcopy(whole.StructureSetROISequence[0])
    number.ROIName = "another"
    shared = told(lambda dataset: dataset.StructureSetROISequence.append(number))
    assert "gives one ROINumber to several ROIs" in shared
    elsewhere = told(lambda dataset: set_series(dataset, generate_uid()))
    assert "warning: TumourMl: the outline says that it was drawn on another series" in elsewhere
    short = copy.deepcopy(contours(whole)[0])
    short.ContourData = short.ContourData[:6]
    assert "1 contours of one or two points" in told(lambda d: contours(d).append(short))
    assert "is no RTSTRUCT" in told(lambda dataset: dataset.pop("ROIContourSequence"))
    elsewhere = told(lambda d: set_frame(d, generate_uid()))
    assert "another frame of reference than this CT" in elsewhere
    twice = told(name_twice)
    assert "outlines several named 'GTV'" in twice
    path.write_bytes((tmp_path / "ct" / "000.dcm").read_bytes())
    assert main([*asked, *where]) == REFUSED
    assert f"{path} is no RTSTRUCT" in capsys.readouterr().err
    broken = copy.deepcopy(contours(whole)[0])
    broken.ContourData = [*broken.ContourData, "1.0"]
    assert "cannot be read" in told(lambda dataset: contours(dataset).append(broken))


def set_frame(structures: pydicom.Dataset, uid: str) -> None:
    for roi in structures.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = uid


def set_series(structures: pydicom.Dataset, uid: str) -> None:
    [frame] = structures.ReferencedFrameOfReferenceSequence
    frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].SeriesInstanceUID = uid


def name_twice(structures: pydicom.Dataset) -> None:
    roi, outlined = (
        copy.deepcopy(one[0])
        for one in (structures.StructureSetROISequence, structures.ROIContourSequence)
    )
    roi.ROINumber = outlined.ReferencedROINumber = 77
    structures.StructureSetROISequence.append(roi)
    structures.ROIContourSequence.append(outlined)


@pytest.fixture
def segmented(tmp_path: Path) -> Callable[[slice], list[str]]:
    """A CT with what segment left of it; words for a tumour on these columns of it."""
    phantom = oriented(small_abdomen(), "FFP")
    slices = write_ct_folder(tmp_path / "ct", phantom, "a tumour at the edge")
    (tmp_path / "result").mkdir()
    liver = np.zeros_like(phantom.liver)
    liver[4:16, 20:50, 30:60] = True
    write_rtstruct(tmp_path / "result" / "rtstruct.dcm", slices, liver, "Liver")
    liver_ml = float(liver.sum() * phantom.volume.grid.voxel_ml)
    report = {"liver_ml": liver_ml, "warnings": ["the liver was cut"]}
    (tmp_path / "result" / "report.json").write_text(json.dumps(report))

    def words(columns: slice) -> list[str]:
        tumour = np.zeros_like(liver)
        tumour[8:11, 24:36, columns] = True
        write_rtstruct(tmp_path / "ct" / "rs.dcm", slices, tumour, "GTV")
        where = [f"--{word}={tmp_path / 'ct'}" for word in ("ct", "rtstruct")]
        return [
            "activity",
            "--method=resin",
            "--height-m=1.75",
            "--weight-kg=70",
            f"--report={tmp_path / 'result' / 'report.json'}",
            *where,
            "--tumour-roi=GTV",
            "--json",
        ]

    return words


def test_a_tumour_counts_as_far_as_it_lies_in_the_liver_of_the_report(
    segmented: Callable[[slice], list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(words: list[str]) -> tuple[float, list[str]]:
        assert main(words) == 0
        answer = json.loads(capsys.readouterr().out)
        [tumour] = [one["Value"] for one in answer["Inputs"] if one["Name"] == "TumourMl"]
        return tumour, answer["Warnings"]

    inside_ml, warnings = shown(segmented(slice(35, 55)))
    assert "the liver was cut" in warnings
    assert not any("lie outside" in one or "not checked" in one for one in warnings)
    edge_ml, warnings = shown(segmented(slice(41, 61)))  # one column of twenty outside
    assert edge_ml == pytest.approx(inside_ml * 19 / 20, rel=0.01)
    [warning] = [one for one in warnings if "lie outside that for LiverMl" in one]
    assert f"{inside_ml - edge_ml:.1f} mL" in warning
    beside = segmented(slice(50, 70))
    assert main(beside) == REFUSED
    assert "50 % of the outline for TumourMl lie outside" in capsys.readouterr().err
    assert shown([*beside, "--outside-is-meant"])[0] == pytest.approx(inside_ml / 2, rel=0.01)


def test_the_liver_of_a_report_may_be_a_mask_alone(
    segmented: Callable[[slice], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As segment leaves it for a CT from NIfTI."""
    words, result = segmented(slice(41, 61)), tmp_path / "result"
    assert main(words) == 0
    from_rtstruct = json.loads(capsys.readouterr().out)
    read = read_ct(tmp_path / "ct")
    liver = read_contour(result / "rtstruct.dcm", LIVER, read).mask
    hu = read.volume.hu.astype(np.int16)
    write_nifti(tmp_path / "ct.nii.gz", hu, read.volume.grid)
    (result / "rtstruct.dcm").unlink()
    elsewhere = Grid(read.volume.grid.shape, read.volume.grid.affine.copy())
    elsewhere.affine[1, 3] += 0.4
    mask = result / "liver.nii.gz"
    for ct in (tmp_path / "ct", tmp_path / "ct.nii.gz"):
        write_nifti(mask, liver.astype(np.uint8), read.volume.grid)
        asked = [f"--ct={ct}" if one.startswith("--ct=") else one for one in words]
        assert main(asked) == 0
        from_mask = json.loads(capsys.readouterr().out)
        assert from_mask["ActivityGbq"] == pytest.approx(from_rtstruct["ActivityGbq"], rel=1e-6)
        assert any("lie outside that for LiverMl" in one for one in from_mask["Warnings"])
        write_nifti(mask, np.roll(liver, 30, axis=2).astype(np.uint8), read.volume.grid)
        assert main(asked) == REFUSED
        assert "of the outline for TumourMl lie outside" in capsys.readouterr().err
        write_nifti(mask, liver.astype(np.uint8), elsewhere)
        assert main(asked) == REFUSED
        assert "liver.nii.gz does not lie on the CT's voxels" in capsys.readouterr().err


def test_a_report_of_another_liver_or_without_an_outline(
    segmented: Callable[[slice], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, beside = segmented(slice(35, 55)), tmp_path / "result" / "rtstruct.dcm"
    outline = pydicom.dcmread(beside)
    set_frame(outline, generate_uid())
    outline.save_as(tmp_path / "elsewhere.dcm")
    whole = beside.read_bytes()
    (tmp_path / "elsewhere.dcm").replace(beside)
    assert main(words) == REFUSED
    assert "rtstruct.dcm: the outline lies in another frame" in capsys.readouterr().err
    beside.write_bytes(whole)
    report = tmp_path / "result" / "report.json"
    report.write_text(json.dumps({"liver_ml": 1800}))
    assert main(words) == REFUSED
    assert "are not of one liver" in capsys.readouterr().err
    beside.unlink()
    assert main(words) == 0
    warnings = json.loads(capsys.readouterr().out)["Warnings"]
    assert any("no outline for LiverMl is known" in one for one in warnings)
    assert main([*words, "--liver-roi=GTV"]) == REFUSED
    assert "not both" in capsys.readouterr().err


def test_limits_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    glass = ["activity", "--method=glass", "--liver-ml=1800", "--dose-gy=120", "--lung-shunt=0"]
    assert main([*glass, "--dose-limit", "GlassLobesMost=110.5"]) == 0
    text = capsys.readouterr().out
    assert "should be at most 110.5 Gy (glass, unilobar or bilobar; --dose-limit; EANM" in text
    for limit, sentence in (
        ("GlassLobeMost=110", "--dose-limit: 'GlassLobeMost' is no name of a limit; did you mean"),
        ("GlassLobesMost=nan", "must be a number of Gy above 0"),
        ("GlassLobesMost=-5", "must be a number of Gy above 0"),
    ):
        assert main([*glass, "--dose-limit", limit]) == REFUSED
        assert sentence in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main([*glass, "--dose-limit", "GlassLobesMost"])
    assert "is not like LungOnce=25" in capsys.readouterr().err


def test_vials_by_the_hour_and_what_was_delivered(capsys: pytest.CaptureFixture[str]) -> None:
    holmium = ["activity", "--method=holmium", "--liver-ml=1800", "--table", "--vial-gbq=14.01624"]
    assert main([*holmium, "--lung-shunt=0.05", "--shunt-by=SPECT/CT"]) == 0
    text = capsys.readouterr().out
    assert "activity: 7.38 GBq (7377 MBq)" in text
    assert "how the lung shunt was measured: SPECT/CT" in text
    assert "\n     25    7.34   60*\n" in text  # 26.8 h * log2(14.01624 / 7.37697) = 24.8 h
    glass = ["activity", "--method=glass", "--liver-ml=1800", "--dose-gy=120", "--prepared-gbq=4.6"]
    assert main([*glass, "--left-behind-gbq=0.1504"]) == 0
    assert "delivered: 4.45 GBq (4450 MBq)" in capsys.readouterr().out
    assert main([*glass]) == REFUSED
    assert "PreparedGbq changes nothing without LeftBehindGbq" in capsys.readouterr().err


def test_the_mass_of_the_lungs_from_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"liver_ml": 1800.0, "lungs": {"ml": 3900.0, "kg": 0.8}}))
    glass = ["activity", "--method=glass", "--dose-gy=150", "--lungs-from-ct"]
    assert main([*glass, f"--report={report}"]) == 0
    text = capsys.readouterr().out
    assert "M_L = 0.8 kg    mass of the lungs (segmentation, measured by density on this CT" in text
    # 30 * 0.8 / (30 * 0.8 + 150 * 1.854), without a shunt too
    assert "leaves the lungs within 30 Gy: 0.0794439" in text
    for more, sentence in (
        (["--liver-ml=1800"], "--lungs-from-ct needs --report"),
        ([f"--report={report}", "--lung-mass-kg=1"], "not both"),
    ):
        assert main([*glass, *more]) == REFUSED
        assert sentence in capsys.readouterr().err
    report.write_text(json.dumps({"liver_ml": 1800.0, "lungs": {"reason": "they are cut"}}))
    assert main([*glass, f"--report={report}"]) == REFUSED
    assert "the lungs were not measured: they are cut: give LungMassKg" in capsys.readouterr().err
