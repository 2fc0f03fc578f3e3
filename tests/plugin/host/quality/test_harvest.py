"""Cases from an Orthanc: what a network learns from and what is measured with, and no patient."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from liver_unet.nifti import read_nifti
from liver_unet.training import ByPatches
from liver_unet.training.layouts import find_cases
from liver_unet.weights import load_model
from orthanc_liver.cli.main import main
from orthanc_liver.dicom.training_cases import prepared, train
from orthanc_liver.evaluation.case_list import read_case_list
from orthanc_liver.evaluation.harvest import Get, HarvestRefused, harvest, prune
from tests.model.training.phantom_cases import small_config
from tests.plugin.host.conftest import Host, only_real
from tests.plugin.host.quality.drawn import (
    BOX_ML,
    COLUMNS,
    ROWS,
    SLICES,
    VOXEL_ML,
    compared,
    liver,
    returned,
    segmented,
)
from tests.support.patience import wait_for


def get_of(host: Host, *only: str) -> Get:
    """What harvest asks; only: the series that the table tells of."""

    def get(path: str) -> bytes:
        answer = host.orthanc.call("GET", path)
        if answer.status_code != 200:
            raise HarvestRefused(f"{path} answers {answer.status_code}")
        if path != "/liver/quality":
            return answer.content
        head, *rows = answer.text.splitlines()
        return "\n".join([head, *(row for row in rows if any(one in row for one in only))]).encode()

    return get


def test_a_case_is_pixels_place_liver_and_grade(host: Host, tmp_path: Path) -> None:
    host.engine.behave(grade="look")
    series, series_id = segmented(host, "harvested")
    compared(host, series_id, returned(host, liver(series)))
    beside, other_id = segmented(host, "harvested and deleted")
    gone = returned(host, liver(beside))
    compared(host, other_id, gone)
    host.orthanc.call("DELETE", f"/instances/{gone}")

    names, left_out = harvest(get_of(host, series_id, other_id), tmp_path / "out")
    [name] = names
    assert re.fullmatch("case_[0-9a-f]{12}", name)
    assert [(one.series, "404" in one.reason) for one in left_out] == [(other_id, True)]

    [case] = find_cases(prepared(tmp_path / "out", tmp_path / "cache"))
    hu, grid = read_nifti(case.ct)
    mask, of_mask = read_nifti(case.liver)
    assert sorted(hu.shape) == [SLICES, ROWS, COLUMNS]
    assert np.array_equal(grid.affine, of_mask.affine)
    assert grid.voxel_ml == pytest.approx(VOXEL_ML)
    assert mask.sum() * VOXEL_ML == pytest.approx(BOX_ML)
    assert np.unique(hu).tolist() == list(range(-150, 247 + SLICES - 1))
    [listed] = read_case_list(tmp_path / "out" / "cases.csv")
    assert (listed.ct, listed.reference) == (case.ct, case.liver)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    [told] = manifest["cases"]
    assert (told["case"], told["grade"]) == (name, "look")
    for file, digest in told["sha256"].items():
        content = (tmp_path / "out" / name / file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
    assert {one.name for one in (tmp_path / "out").rglob("*")} == {
        *("manifest.json", "cases.csv", name, "ct.nii.gz", "liver.nii.gz")
    }
    again, _ = harvest(get_of(host, series_id), tmp_path / "again")
    assert not {*again} & {*names}


def test_what_is_harvested_teaches_a_network(host: Host, tmp_path: Path) -> None:
    ids = []
    for name in ("teaches", "teaches too", "validates"):
        series, series_id = segmented(host, f"harvested, {name}")
        compared(host, series_id, returned(host, liver(series)))
        ids.append(series_id)
    harvested, tuned = tmp_path / "out", tmp_path / "tuned"
    harvest(get_of(host, *ids), harvested)
    recipe = small_config("tune", length=ByPatches(4), folds=3)
    train(recipe, [harvested], tuned, "cpu", 0)
    told = load_model(tuned / "last", torch.device("cpu"))[1]
    assert (told.training_data.split(" patients")[0], told.patches_seen) == ("2", 4)


def test_nothing_of_the_patient_is_in_a_case(host: Host, tmp_path: Path) -> None:
    series, series_id = segmented(host, "harvested without a name")
    compared(host, series_id, returned(host, liver(series)))
    harvest(get_of(host, series_id), tmp_path / "out")
    identifiers = {str(series[0][name].value) for name in ("PatientID", "StudyInstanceUID")}
    identifiers |= {"Secret", series_id, str(series[0].SeriesInstanceUID), "by hand", "2.25."}
    for path in (tmp_path / "out").rglob("*.*"):
        content = path.read_bytes()
        content += gzip.decompress(content) if path.suffix == ".gz" else b""
        assert not [one for one in identifiers if one.encode() in content], path


def test_cases_go_with_their_study(host: Host, tmp_path: Path) -> None:
    ids = []
    for name in ("stays", "goes with its study"):
        series, series_id = segmented(host, name)
        compared(host, series_id, returned(host, liver(series)))
        ids.append(series_id)
    get, out = get_of(host, *ids), tmp_path / "out"
    names, _ = harvest(get, out)
    assert prune(get, out) == []
    rows = get("/liver/quality").decode().splitlines()[1:]
    gone = next(name for name, row in zip(names, rows, strict=True) if ids[1] in row)
    study = host.orthanc.get(f"/series/{ids[1]}")["ParentStudy"]
    host.orthanc.call("DELETE", f"/studies/{study}")
    wait_for("its end", lambda: ids[1] not in get("/liver/quality").decode())

    assert prune(get, out) == [gone]
    [left] = {*names} - {gone}
    told = json.loads((out / "manifest.json").read_text())
    assert [one["case"] for one in told["cases"]] == [left]
    assert {one.parent.name for one in out.rglob("*.nii.gz")} == {left}
    assert gone not in (out / "cases.csv").read_text()

    with pytest.raises(HarvestRefused, match="that Orthanc knows no case of"):
        prune(get_of(host), out)
    assert (out / left / "ct.nii.gz").exists()


@pytest.mark.parametrize("manifest", [None, "{", "[]", '{"Version": 1, "cases": []}'])
def test_only_a_harvest_is_pruned(tmp_path: Path, manifest: str | None) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(HarvestRefused, match="does not say where cases came from"):
        prune(lambda path: b"", tmp_path)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(HarvestRefused, match="not empty"):
        harvest(lambda path: b"", tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]


@only_real
def test_the_command_asks_an_orthanc(
    host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series, series_id = segmented(host, "harvested by the command")
    compared(host, series_id, returned(host, liver(series)))
    assert main(["harvest", "--orthanc", host.orthanc.url, "--out", str(tmp_path / "out")]) == 0
    assert "1 cases in" in capsys.readouterr().out
    assert len([*(tmp_path / "out").glob("case_*/ct.nii.gz")]) == 1


def test_an_orthanc_that_does_not_answer_is_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["harvest", "--orthanc", "http://127.0.0.1:9", "--out", str(tmp_path)]) == 3
    assert "does not answer" in capsys.readouterr().err
