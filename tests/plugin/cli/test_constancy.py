"""orthanc-liver constancy: what is the same passes, what is not fails, and a page says so."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from liver_unet.nifti import read_nifti, write_nifti
from liver_unet.segmenter import Segmenter
from orthanc_liver.cli.constancy_check import Compared, Limits
from orthanc_liver.cli.constancy_page import page_of
from orthanc_liver.cli.exit_status import REFUSED, SOME_FAILED
from orthanc_liver.cli.main import main
from tests.support.liver_by_hu import segmenter_by_hu
from tests.support.phantom import small_abdomen


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Segmenter, "load", lambda *_: segmenter_by_hu())


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studies of two patients of the site's own, one liver and one body without, and a record."""
    folder = tmp_path_factory.mktemp("accepted")
    studies = folder / "studies"
    studies.mkdir()
    volume = small_abdomen(seed=3).volume
    write_nifti(studies / "liver.nii.gz", volume.hu.astype(np.int16), volume.grid)
    without = np.where(volume.hu > 60, 30, volume.hu).astype(np.int16)
    write_nifti(studies / "without.nii.gz", without, volume.grid)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Segmenter, "load", lambda *_: segmenter_by_hu())
        assert constancy(folder / "constancy", "--accept", "--cases", str(studies)) == 0
    return folder


@pytest.fixture
def record(accepted: Path, tmp_path: Path) -> Path:
    """A copy of it, whose studies are copies too."""
    shutil.copytree(accepted, tmp_path, dirs_exist_ok=True)
    told = tmp_path / "constancy" / "acceptance.json"
    told.write_text(told.read_text().replace(str(accepted), str(tmp_path)))
    return tmp_path / "constancy"


def constancy(record: Path, *words: str) -> int:
    return main(["constancy", "--record", str(record), "--device", "cpu", *words])


def pages(record: Path) -> list[str]:
    """What was written by each check, the last one last."""
    found = sorted(record.glob("*/constancy.html"), key=lambda path: path.stat().st_mtime_ns)
    return [re.sub(r"<[^>]+>", " ", path.read_text()) for path in found]


def test_the_same_installation_is_constant(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accepted = (record / "acceptance.json").read_text()
    assert constancy(record) == 0
    told = capsys.readouterr().out.splitlines()
    assert "liver.nii.gz: the same: +0.000 % of volume, DSC 1.00000, " in told[-3]
    assert told[-2] == "without.nii.gz: no liver found, as at acceptance"
    [page] = pages(record)
    assert "Constant : 2 of 2 CT within the limits." in " ".join(page.split())
    assert "signature" in page
    assert (record / "acceptance.json").read_text() == accepted


def test_another_outline_is_beyond_the_limits_and_by_how_much_is_said(
    record: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Segmenter, "load", lambda *_: segmenter_by_hu(low_hu=96))
    assert constancy(record) == SOME_FAILED
    told = capsys.readouterr().out
    [percent] = map(float, re.findall(r"([-+][\d.]+) % of volume", told))
    [dsc] = map(float, re.findall(r"DSC ([\d.]+),", told))
    found, accepted = (
        read_nifti(path)[0] > 0
        for path in (
            next(record.glob("2*/liver.nii.gz/liver.nii.gz")),
            record / "acceptance" / "liver.nii.gz" / "liver.nii.gz",
        )
    )
    assert percent == pytest.approx(100 * (found.sum() / accepted.sum() - 1), abs=0.01)
    assert percent < -0.5
    both = 2 * (found & accepted).sum() / (found.sum() + accepted.sum())
    assert dsc == pytest.approx(both, abs=1e-5)
    assert dsc < 0.998
    assert "the volume differs by more than 0.5 % and the DSC is below 0.998" in told
    assert "NOT constant: 1 of 2 CT" in pages(record)[-1]
    # A site may set wider limits, on each by itself.
    assert constancy(record, "--volume-percent", "20", "--dsc", "0.8") == 0
    assert constancy(record, "--volume-percent", "20") == SOME_FAILED
    assert constancy(record, "--dsc", "0.8") == SOME_FAILED


def test_another_ct_is_no_comparison(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ct = record.parent / "studies" / "liver.nii.gz"
    hu, grid = read_nifti(ct)
    hu[3, 20, 30] += 1
    write_nifti(ct, hu.astype(np.int16), grid)
    assert constancy(record) == SOME_FAILED
    assert "the CT is not the one that was accepted" in capsys.readouterr().out
    ct.unlink()
    assert constancy(record) == SOME_FAILED
    assert "does not exist" in capsys.readouterr().out


def test_a_liver_that_is_no_longer_found_fails(
    record: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Segmenter, "load", lambda *_: segmenter_by_hu(low_hu=124))
    assert constancy(record) == SOME_FAILED
    assert "no liver found, and at acceptance segmented" in capsys.readouterr().out


def test_without_cases_a_made_up_patient_is_kept(tmp_path: Path) -> None:
    assert constancy(tmp_path / "record", "--accept") == 0
    kept = json.loads((tmp_path / "record" / "acceptance.json").read_text())
    assert list(kept["cases"]) == ["phantom"]
    assert kept["cases"]["phantom"]["liver_ml"] == pytest.approx(1600, rel=0.3)
    assert {"network", "device", "runtime", "torch"} <= set(kept["installation"])
    assert constancy(tmp_path / "record") == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "is not there: make the record with --accept"),
        (["--cases", "studies"], "--cases goes with --accept"),
    ],
)
def test_what_has_no_record_is_refused(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert constancy(tmp_path, *words) == REFUSED
    assert sentence in capsys.readouterr().err


def test_a_record_is_never_written_over(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert constancy(record, "--accept") == REFUSED
    assert "holds a record of acceptance" in capsys.readouterr().err


def test_a_ct_that_cannot_be_outlined_is_not_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "studies" / "empty").mkdir(parents=True)
    folder = tmp_path / "record"
    assert constancy(folder, "--accept", "--cases", str(tmp_path / "studies")) == REFUSED
    assert "empty cannot be outlined" in capsys.readouterr().err
    assert not (folder / "acceptance.json").exists()


def test_the_page_tells_what_changed_and_nothing_as_html() -> None:
    then = {"outcome": "segmented", "liver_ml": 1500.0, "seconds": 4.0}
    now = then | {"liver_ml": 1501.5}
    one = Compared("<b>case</b>", then, now, 0.1, 0.9991, "")
    about = {"then": {"torch": "2.13.0"}, "now": {"torch": "2.14.0"}}
    page = page_of("2026-01-02", "2026-03-04", about, [one], Limits(0.5, 0.998))
    assert "<b>case" not in page
    assert "<td>torch<td>2.13.0<td>2.14.0" in page
    assert "<td>1500.0<td>1501.5<td>+0.100 %<td>0.99910" in page
