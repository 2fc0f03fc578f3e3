"""What segment leaves in its folder: of this run alone, whole, and never over others' files."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liver_unet.nifti import read_nifti, write_nifti
from liver_unet.segmenter import Segmenter
from liver_unet.volume import Volume
from orthanc_liver.cli.exit_status import NO_LIVER, REFUSED
from orthanc_liver.cli.main import main
from tests.support.ct_writer import write_ct_series, write_files
from tests.support.threshold_engine import on_cpu, with_liver

OUTPUTS = {"liver.nii.gz", "rtstruct.dcm", "overlay.png", "report.json"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Segmenter, "load", lambda *_: on_cpu())


@pytest.fixture
def ct(tmp_path: Path) -> Path:
    """A CT whose liver the threshold finds."""
    return written(tmp_path / "ct", with_liver())


def written(folder: Path, volume: Volume) -> Path:
    write_files(folder, write_ct_series(volume))
    return folder


def without_liver(folder: Path) -> Path:
    volume = with_liver()
    return written(folder, Volume(np.where(volume.hu == 110, 30, volume.hu), volume.grid))


def segment(source: Path, out: Path) -> int:
    return main(["segment", str(source), "--out", str(out), "--device", "cpu"])


def report_in(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "report.json").read_text())
    return content


def names_in(out: Path) -> set[str]:
    return {path.name for path in out.iterdir()}


def test_no_contour_of_the_run_before_is_left(ct: Path, tmp_path: Path) -> None:
    """Beside "no liver found", a refusal, and an input that is not there."""
    out = tmp_path / "out"
    cut = written(tmp_path / "cut", with_liver())
    (cut / "011.dcm").unlink()
    for source, status, outcome in (
        (without_liver(tmp_path / "other"), NO_LIVER, "no liver found"),
        (cut, REFUSED, "refused"),
        (tmp_path / "none", REFUSED, "refused"),
    ):
        assert segment(ct, out) == 0
        assert names_in(out) == OUTPUTS
        assert segment(source, out) == status
        assert names_in(out) == {"report.json"}
        assert report_in(out)["outcome"] == outcome
        assert report_in(out)["liver_ml"] is None
    assert "does not exist" in report_in(out)["reason"]


def test_nifti_leaves_no_rtstruct_of_the_run_before(ct: Path, tmp_path: Path) -> None:
    out, volume = tmp_path / "out", with_liver()
    assert segment(ct, out) == 0
    write_nifti(tmp_path / "ct.nii.gz", volume.hu.astype(np.int16), volume.grid)
    assert segment(tmp_path / "ct.nii.gz", out) == 0
    assert names_in(out) == OUTPUTS - {"rtstruct.dcm"}


@pytest.mark.parametrize("name", sorted(OUTPUTS))
def test_others_files_are_neither_taken_away_nor_written_over(
    name: str, ct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text('{"outcome": "of somebody else"}')
    assert segment(ct, out) == REFUSED
    assert f"holds {name}, which is not known" in capsys.readouterr().err
    assert names_in(out) == {name}
    assert (out / name).read_text() == '{"outcome": "of somebody else"}'


def test_what_else_lies_there_stays_and_no_input_is_taken_away(
    ct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert segment(ct, out) == 0
    (out / "notes.txt").write_text("mine")
    assert segment(ct, out) == 0
    assert names_in(out) == OUTPUTS | {"notes.txt"}
    assert segment(out / "liver.nii.gz", out) == REFUSED
    assert "would be written over" in capsys.readouterr().err
    assert read_nifti(out / "liver.nii.gz")[0].any()


@pytest.mark.parametrize("name", ["liver.nii.gz", "rtstruct.dcm", "overlay.png"])
def test_a_full_disk_leaves_no_half_file(
    name: str,
    ct: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if name in path.name:
            write(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    if name == "liver.nii.gz":
        monkeypatch.setattr(
            "liver_unet.nifti.nib.save", lambda image, path: full(path, image.to_bytes())
        )
    out = tmp_path / "out"
    assert segment(ct, out) == REFUSED
    assert f"{out / name} cannot be written (No space left on device)" in capsys.readouterr().err
    assert name not in names_in(out)
    assert not any(one.startswith("part-") for one in names_in(out))
    assert report_in(out)["outcome"] == "failed"


def test_a_run_that_was_broken_off_leaves_word_of_it_and_the_next_goes_on(
    ct: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert segment(ct, out) == 0
    with monkeypatch.context() as broken:
        broken.setattr(Segmenter, "load", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            segment(ct, out)
    assert names_in(out) == {"report.json"}
    assert report_in(out)["reason"] == "the run did not come to its end"
    (out / "part-rtstruct.dcm").write_bytes(b"half")  # as a run that was killed leaves
    assert segment(ct, out) == 0
    assert names_in(out) == OUTPUTS


def test_a_folder_that_cannot_be_made(
    ct: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    assert segment(ct, tmp_path / "file" / "out") == REFUSED
    said = capsys.readouterr().err
    assert "cannot be written (Not a directory)" in said
    assert said.count("\n") == 1
