"""orthanc-liver evaluate, whole: real files, real processes, the real network."""

from __future__ import annotations

import csv
import multiprocessing.synchronize
import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK

from liver_unet.nifti import read_nifti, write_nifti
from orthanc_liver.cli.exit_status import REFUSED, SOME_FAILED
from orthanc_liver.cli.main import main
from orthanc_liver.dicom.ct_folder import read_ct
from orthanc_liver.dicom.roi_choice import LIVER
from orthanc_liver.evaluation.outlines import read_contour
from tests.support.case_writer import write_ct_folder, write_nifti_case, write_rtstruct
from tests.support.patience import patience_s, wait_for
from tests.support.phantom import abdomen
from tests.support.processes import children_of

pytestmark = pytest.mark.network

PATIENT = "111,1.75,70,assumed"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cases: NIfTI with another tool's mask, DICOM with RTSTRUCT, and one without a CT."""
    folder = tmp_path_factory.mktemp("study")
    first = abdomen((40, 110, 140), (7.0, 2.9, 2.8), seed=1)
    second = abdomen((36, 110, 140), (8.0, 2.9, 2.8), seed=2)
    write_nifti_case(folder / "one", first)
    shifted = np.roll(first.liver, 4, axis=2)
    write_nifti(folder / "one" / "other.nii.gz", shifted.astype(np.uint8), first.volume.grid)
    slices = write_ct_folder(folder / "two" / "ct", second, "evaluate")
    for path in (folder / "two" / "ct").iterdir():
        one = pydicom.dcmread(path)
        one.PatientAge = "063Y"
        one.save_as(path)
    write_rtstruct(folder / "two" / "rs.dcm", slices, second.liver, "Liver manual")
    (folder / "cases.csv").write_text(
        "case,ct,reference,roi,other,tumour_ml,height_m,weight_kg,origin\n"
        f"one,one/ct.nii.gz,one/liver.nii.gz,,one/other.nii.gz,{PATIENT}\n"
        "two,two/ct,two/rs.dcm,/manual$/,,,,,\n"
        "gone,three/ct,one/liver.nii.gz,,,,,,\n"
    )
    return folder


def command(study: Path, out: Path, *more: str) -> list[str]:
    return ["evaluate", "--cases", str(study / "cases.csv"), "--out", str(out), *more]


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / "results.csv").open(newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def out(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    more = ("--device", "cpu", "--jobs", "2", "--other-name", "atlas")
    assert main(command(study, folder, *more)) == SOME_FAILED
    return folder


def test_one_failure_is_a_row_and_the_rest_is_measured(out: Path) -> None:
    rows = rows_of(out)
    assert [row["state"] for row in rows.values()] == ["measured", "measured", "failed"]
    assert "does not exist" in rows["gone"]["reason"]
    assert "fault" not in rows["gone"]["reason"]
    assert rows["two"]["atlas_dsc"] == rows["two"]["network_ra_resin"] == ""


def test_the_figures_are_those_of_another_program(study: Path, out: Path) -> None:
    """SimpleITK compares the masks that were left; the RTSTRUCT case by its own contour."""
    ct = read_ct(study / "two" / "ct")
    reference = {
        "one": read_nifti(study / "one" / "liver.nii.gz")[0] > 0,
        "two": read_contour(study / "two" / "rs.dcm", LIVER, ct).mask,
    }
    for name, truth in reference.items():
        mask, grid = read_nifti(out / "cases" / name / "network.nii.gz")
        overlap = SimpleITK.LabelOverlapMeasuresImageFilter()
        overlap.Execute(
            *(SimpleITK.GetImageFromArray(m.astype(np.uint8)) for m in (mask > 0, truth))
        )
        row = rows_of(out)[name]
        assert float(row["network_dsc"]) == pytest.approx(overlap.GetDiceCoefficient())
        # their similarity: twice the difference by the sum
        similarity = overlap.GetVolumeSimilarity()
        ratio = (2 + similarity) / (2 - similarity)
        assert float(row["network_rv"]) == pytest.approx(ratio)
        assert float(row["network_ra_glass"]) == pytest.approx(ratio)
        assert float(row["reference_ml"]) == pytest.approx(truth.sum() * grid.voxel_ml)


def test_the_shifted_contour_has_known_figures(study: Path, out: Path) -> None:
    row = rows_of(out)["one"]
    liver = read_nifti(study / "one" / "liver.nii.gz")[0] > 0
    both = (liver & np.roll(liver, 4, axis=2)).sum()
    assert float(row["atlas_dsc"]) == pytest.approx(both / liver.sum())
    assert float(row["atlas_rv"]) == float(row["atlas_ra_resin"]) == 1
    assert float(row["atlas_difference_resin_mbq"]) == 0
    # 4 columns of 2.8 mm apart: no surface voxel is farther than that from the other surface
    assert float(row["atlas_hd95_mm"]) <= 4 * 2.8 + 1e-6


def test_resin_activities_by_hand(out: Path) -> None:
    row = rows_of(out)["one"]
    reference_ml, network_ml = float(row["reference_ml"]), float(row["network_liver_ml"])
    true_gbq, found_gbq = (1.8481190138 - 0.2 + 111 / ml for ml in (reference_ml, network_ml))
    assert float(row["network_ra_resin"]) == pytest.approx(found_gbq / true_gbq, abs=1e-9)
    assert float(row["network_difference_resin_mbq"]) == pytest.approx(
        1000 * (found_gbq - true_gbq), abs=1e-6
    )
    # 120 Gy * 1.03 kg/L / 50
    assert float(row["network_difference_glass_mbq"]) == pytest.approx(
        2.472 * (network_ml - reference_ml)
    )


def test_the_report_stands_alone_and_says_what_it_is(out: Path) -> None:
    html = (out / "report.html").read_text()
    assert "For review by a physician; not a medical device." in html
    assert "exact, n = 1" in html
    assert "age, years: 63 ± 0 (63-63), n = 1" in html
    [volumes] = re.findall(r"by the reference, mL: (\d+) ± \d+ \((\d+)-(\d+)\), n = 2", html)
    references = [float(rows_of(out)[name]["reference_ml"]) for name in ("one", "two")]
    assert float(volumes[0]) == pytest.approx(sum(references) / 2, abs=0.5)
    assert [float(v) for v in volumes[1:]] == pytest.approx(sorted(references), abs=0.5)
    assert "best case" in html
    assert "worst case" in html
    assert html.count("data:image/svg+xml") == 6
    sources = re.findall(r'(?:src|href)="([^"]{5})', html)
    assert set(sources) == {"data:"}
    assert {path.name for path in (out / "figures").iterdir()} == {
        f"{name}.svg" for name in ("dsc", "mda", "rv", "ra_resin", "ra_glass", "bland_altman")
    }
    with (out / "table.csv").open(newline="") as file:
        table = {row["metric"]: row for row in csv.DictReader(file)}
    assert table["DSC"]["study: network"] == "0.94 ± 0.01 (0.91-0.96)"


def test_what_is_measured_stays_until_its_content_changes(
    study: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copied elsewhere, touched, files renamed: nothing of it changes a measurement."""
    masks = [out / "cases" / name / "network.nii.gz" for name in ("one", "two")]
    before = [mask.stat().st_mtime_ns for mask in masks]
    moved = tmp_path / "moved"
    shutil.copytree(study, moved)
    (moved / "two" / "ct" / "000.dcm").rename(moved / "two" / "ct" / "first")
    more = ("--device", "cpu", "--other-name", "atlas")
    assert main(command(moved, out, *more)) == SOME_FAILED
    assert [mask.stat().st_mtime_ns for mask in masks] == before
    assert capsys.readouterr().err.count("failed: gone:") == 1

    outline = moved / "two" / "rs.dcm"
    outline.write_bytes(outline.read_bytes().replace(b"Liver manual", b"LIVER manual"))
    assert main(command(moved, out, *more)) == SOME_FAILED
    after = [mask.stat().st_mtime_ns for mask in masks]
    assert after[0] == before[0]
    assert after[1] > before[1]


def test_where_processes_cannot_share_the_work_one_does_it_all(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As without /dev/shm, or with one that may not be written to."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(multiprocessing.synchronize.SemLock, "__init__", refuse)
    one, two = study / "one", study / "two"
    (tmp_path / "cases.csv").write_text(
        "case,ct,reference,other\n"
        f"one,{one / 'ct.nii.gz'},{one / 'liver.nii.gz'},{one / 'other.nii.gz'}\n"
        f"gone,{one / 'none'},{one / 'liver.nii.gz'},{one / 'other.nii.gz'}\n"
        f"two,{two / 'ct'},{two / 'rs.dcm'},{two / 'rs.dcm'}\n"
    )
    more = ("--without-network", "--jobs", "2", "--roi", "Leber", "Liver manual")
    assert main(command(tmp_path, tmp_path / "out", *more)) == SOME_FAILED
    said = capsys.readouterr().err
    assert "no process can share the work" in said
    assert "measured: one: reference the mask, other the mask\n" in said
    assert "measured: two: reference ROI 'Liver manual', other ROI 'Liver manual'\n" in said
    rows = rows_of(tmp_path / "out")
    assert [row["state"] for row in rows.values()] == ["measured", "failed", "measured"]
    assert rows["two"]["reference_outline"] == "ROI 'Liver manual'"
    assert 0 < float(rows["one"]["other_dsc"]) < 1


def test_a_killed_process_costs_nobody_else_a_result(study: Path, tmp_path: Path) -> None:
    """Killed together with the pool, then again alone: that case has its row, the others theirs."""
    one, two = study / "one", study / "two"
    (tmp_path / "cases.csv").write_text(
        "case,ct,reference,other\n"
        f"one,{one / 'ct.nii.gz'},{one / 'liver.nii.gz'},{one / 'other.nii.gz'}\n"
        f"two,{two / 'ct'},{two / 'rs.dcm'},{two / 'rs.dcm'}\n"
    )
    program = [sys.executable, "-m", "orthanc_liver.cli.main"]
    running = subprocess.Popen([*program, *command(tmp_path, tmp_path, "--without-network")])
    killed: set[int] = set()
    for _ in range(2):
        pid = wait_for("a process at work", lambda: _worker_of(running.pid, killed), 60.0)
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    assert running.wait(timeout=patience_s(120)) == SOME_FAILED
    rows = rows_of(tmp_path)
    assert "ended unexpectedly" in rows["one"]["reason"]
    assert rows["two"]["state"] == "measured"
    assert float(rows["two"]["other_dsc"]) == 1
    assert "network" not in (tmp_path / "results.csv").read_text()


def test_a_process_that_ends_while_cases_are_handed_in_costs_nobody_else_a_result(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then handing in the next one raises, not asking for the result."""
    one, two = study / "one", study / "two"
    (tmp_path / "cases.csv").write_text(
        "case,ct,reference,other\n"
        f"one,{one / 'ct.nii.gz'},{one / 'liver.nii.gz'},{one / 'other.nii.gz'}\n"
        f"two,{two / 'ct'},{two / 'rs.dcm'},{two / 'rs.dcm'}\n"
    )
    submit = ProcessPoolExecutor.submit

    def kill_before_the_second(pool: ProcessPoolExecutor, *work: Any) -> Future[Any]:
        first = submit(pool, *work)
        if work[1].case == "one" and not killed:
            killed.append(wait_for("a process", lambda: _worker_of(os.getpid(), set()), 60.0))
            os.kill(killed[0], signal.SIGKILL)
            with pytest.raises(BrokenProcessPool):
                first.result()
        return first

    killed: list[int] = []
    monkeypatch.setattr(ProcessPoolExecutor, "submit", kill_before_the_second)
    assert main(command(tmp_path, tmp_path / "out", "--without-network")) == 0
    assert len(killed) == 1
    assert [row["state"] for row in rows_of(tmp_path / "out").values()] == ["measured"] * 2


def _worker_of(parent: int, except_for: set[int]) -> int | None:
    for child in children_of(parent):
        try:
            words = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if b"spawn_main" in words and child not in except_for:
            return child
    return None


def test_the_list_is_not_written_over(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = study / "results.csv"
    listed.write_text("case,ct,reference\none,one/ct.nii.gz,one/liver.nii.gz\n")
    assert main(["evaluate", "--cases", str(listed), "--out", str(study)]) == REFUSED
    assert "would be overwritten" in capsys.readouterr().err
    assert listed.read_text().startswith("case,ct,reference")


def test_a_wrong_list_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cases.csv").write_text("case,ct\n")
    assert main(command(tmp_path, tmp_path / "out")) == REFUSED
    assert "lacks reference" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
