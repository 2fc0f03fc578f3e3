"""orthanc-liver segment --list: many CT in, one table out, and no work done twice."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from liver_unet.nifti import write_nifti
from liver_unet.segmenter import Segmenter
from liver_unet.volume import Volume
from orthanc_liver.cli.exit_status import REFUSED, SOME_FAILED
from orthanc_liver.cli.main import main
from orthanc_liver.cli.outlining import Outlining
from orthanc_liver.cli.progress import TerminalProgress
from tests.support.ct_writer import write_ct_series, write_files
from tests.support.threshold_engine import on_cpu, with_liver


@pytest.fixture(autouse=True)
def outlined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A quick network; the list holds the name of every CT that was computed."""
    names: list[str] = []
    outline: Callable[..., object] = Outlining.outline

    def noting(self: Outlining, ct: object, out: object) -> object:
        names.append(ct.path.name)  # type: ignore[attr-defined]
        return outline(self, ct, out)

    monkeypatch.setattr(Segmenter, "load", lambda *_: on_cpu())
    monkeypatch.setattr(Outlining, "outline", noting)
    return names


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """One with two CT series, one without a liver, one that is none, one from NIfTI."""
    folder, volume = tmp_path / "studies", with_liver()
    write_series(folder / "a" / "1", volume, "first")
    write_series(folder / "a" / "2", volume, "second")
    without = Volume(np.where(volume.hu == 110, 30, volume.hu), volume.grid)
    write_series(folder / "b", without, "third")
    (folder / "c").mkdir()
    write_nifti(folder / "d.nii.gz", volume.hu.astype(np.int16), volume.grid)
    (folder / ".hidden").write_text("of the file system's own")
    return folder


def write_series(folder: Path, volume: Volume, seed: str) -> None:
    write_files(folder, write_ct_series(volume, uid_seed=seed))


def run(listed: Path, out: Path) -> int:
    return main(["segment", "--list", str(listed), "--out", str(out), "--device", "cpu"])


def table(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((out / "results.csv").read_text())))


def test_a_folder_of_studies_comes_to_one_table(studies: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(studies, out) == SOME_FAILED
    first, second, without, none, nifti = table(out)
    for row in (first, second):
        assert row["case"] == f"a/{row['series']}"
        assert row["outcome"] == "segmented"
        assert (out / row["case"] / "rtstruct.dcm").exists()
    assert first["series"] != second["series"]
    assert (without["case"], without["outcome"], without["liver_ml"]) == ("b", "no liver found", "")
    assert (none["case"], none["outcome"]) == ("c", "refused")
    assert "holds no DICOM file" in none["reason"]
    assert nifti["case"] == "d.nii.gz"
    assert float(nifti["liver_ml"]) == pytest.approx(float(first["liver_ml"]), abs=1)


def test_what_has_an_answer_is_not_computed_again(
    studies: Path, tmp_path: Path, outlined: list[str]
) -> None:
    run(studies, tmp_path / "out")
    before = table(tmp_path / "out")
    outlined.clear()
    run(studies, tmp_path / "out")
    assert outlined == ["c"]  # was refused: it may be mended meanwhile
    assert table(tmp_path / "out") == before
    (studies / "a" / "2" / "023.dcm").unlink()
    (tmp_path / "out" / "d.nii.gz" / "report.json").unlink()
    (tmp_path / "out" / "d.nii.gz" / "liver.nii.gz").unlink()
    outlined.clear()
    (tmp_path / "out" / "d.nii.gz" / "rtstruct.dcm").unlink(missing_ok=True)
    (tmp_path / "out" / "d.nii.gz" / "overlay.png").unlink()
    run(studies, tmp_path / "out")
    assert outlined == ["a", "a", "c", "d.nii.gz"]
    report = tmp_path / "out" / "d.nii.gz" / "report.json"
    told = json.loads(report.read_text())
    told["coarse_model"] = {"name": "another coarse network", "sha256": "0" * 64}
    report.write_text(json.dumps(told))
    outlined.clear()
    run(studies, tmp_path / "out")
    assert outlined == ["c", "d.nii.gz"]


def test_a_fault_in_one_leaves_the_others(
    studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> object:
        raise RuntimeError("CUDA error")

    monkeypatch.setattr(Outlining, "_from_dicom", failing)
    assert run(studies, tmp_path / "out") == SOME_FAILED
    outcomes = [row["outcome"] for row in table(tmp_path / "out")]
    assert outcomes == ["failed", "failed", "failed", "refused", "segmented"]


def test_a_list_with_semicolons_names_cases_and_series(studies: Path, tmp_path: Path) -> None:
    uid = write_ct_series(with_liver(), uid_seed="second")[0].SeriesInstanceUID
    listed = studies / "list.csv"
    listed.write_text(f"case;ct;series\none;a;{uid}\ntwo;d.nii.gz;\n")
    assert run(listed, tmp_path / "out") == 0
    rows = table(tmp_path / "out")
    assert [(row["case"], row["series"]) for row in rows] == [("one", uid), ("two", "")]
    assert (tmp_path / "out" / "one" / "rtstruct.dcm").exists()


@pytest.mark.parametrize("out", [".", "out", "../list/.."])
def test_results_do_not_lie_among_the_studies(
    out: str, studies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (studies.parent / "list").mkdir()
    inside = out != "../list/.."
    assert (run(studies, studies / out) == REFUSED) == inside
    assert ("name another folder" in capsys.readouterr().err) == inside


def test_a_list_is_not_written_over(studies: Path) -> None:
    listed = studies / "results.csv"
    listed.write_text("case,ct\none,d.nii.gz\n")
    assert run(listed, studies) == REFUSED
    assert listed.read_text().startswith("case,ct\n")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_bar_tells_percent_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with TerminalProgress(2) as progress:
        progress.show("read", 0.5)
        progress.show("look again", 1.0)
        progress.show("read", 0.0)
        progress.next()
        progress.show("infer", 0.0)
    shown = [line.strip() for line in terminal.getvalue().split("\r") if "%" in line]
    percents = [int(line.split("%")[0].split()[-1]) for line in shown]
    assert percents == sorted(percents)
    assert {5, 42, 75} <= set(percents)
    assert shown[-1].startswith("2 of 2: infer")
    assert all(line.endswith("left") for line in shown)
