"""Nothing is written outside the places that were named, and none but those is needed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from liver_unet.nifti import write_nifti
from liver_unet.weights import default_weights
from orthanc_liver.engine.protocol import Ready, read
from tests.support.phantom import abdomen
from tests.support.sealed import sealed

PROGRAM = [sys.executable, "-m", "orthanc_liver.cli.main"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The one folder that can be written: a CT and its liver lie in it."""
    phantom = abdomen((44, 65, 85), (6.5, 5.0, 4.6))
    write_nifti(tmp_path / "ct.nii", phantom.volume.hu.astype(np.int16), phantom.volume.grid)
    write_nifti(tmp_path / "liver.nii", phantom.liver.astype(np.uint8), phantom.volume.grid)
    (tmp_path / "cases.csv").write_text("case,ct,reference,other\none,ct.nii,liver.nii,liver.nii\n")
    return tmp_path


def run(place: Path, *words: str) -> None:
    done = subprocess.run(
        sealed([*PROGRAM, *words], place), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def names_in(folder: Path) -> set[str]:
    return {one.name for one in folder.iterdir()}


def test_segment_writes_its_results_alone(place: Path) -> None:
    before = names_in(place)
    run(place, "segment", str(place / "ct.nii"), "--out", str(place / "out"), "--device", "cpu")
    assert names_in(place) == before | {"out"}
    assert names_in(place / "out") == {"liver.nii.gz", "overlay.png", "report.json"}


def test_evaluate_draws_without_a_home(place: Path) -> None:
    cases, out = str(place / "cases.csv"), place / "out"
    run(place, "evaluate", "--cases", cases, "--out", str(out), "--without-network")
    assert names_in(out) == {"cases", "figures", "report.html", "results.csv", "table.csv"}


def test_the_graph_is_made_beside_the_weights(place: Path) -> None:
    weights = place / "weights"
    shutil.copytree(default_weights() / "coarse", weights)
    before = names_in(weights)
    run(place, "export", "--graph", "--weights", str(weights))
    assert names_in(weights) == before


def test_what_else_computes_starts(place: Path) -> None:
    modules = (
        "liver_unet.calibration",
        "liver_unet.training",
        "liver_unet.atlas.leave_one_out",
        "orthanc_liver.engine.document_process",
    )
    subprocess.run(
        sealed([sys.executable, "-c", f"import {', '.join(modules)}"], place), check=True
    )


def test_the_inference_process_gets_ready(place: Path) -> None:
    command = [sys.executable, "-m", "orthanc_liver.engine.inference_process", "--device", "cpu"]
    with subprocess.Popen(
        sealed(command, place), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as engine:
        assert engine.stdout is not None
        assert engine.stdin is not None
        ready = read(engine.stdout)
        engine.stdin.close()
    assert isinstance(ready, Ready)
    spec = json.loads((default_weights() / "liver.json").read_text())
    assert ready.model_sha256 == spec["sha256"]
