"""The wheel is all that a server needs: command line and plugin run from it with its weights."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from liver_unet.nifti import read_nifti, write_nifti
from liver_unet.weights import default_weights
from tests.support.installed import Installed, build_wheel, install, without_checkout
from tests.support.orthanc_server import OrthancServer
from tests.support.patience import wait_for
from tests.support.phantom import abdomen


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(build_wheel(tmp_path_factory.mktemp("build")), tmp_path_factory.mktemp("env"))


def sha256_of_weights() -> str:
    return str(json.loads((default_weights() / "liver.json").read_text())["sha256"])


def test_the_command_line_outlines_a_liver_with_the_wheels_weights(
    installed: Installed, tmp_path: Path
) -> None:
    phantom = abdomen((44, 130, 170), (6.5, 2.5, 2.3))
    write_nifti(tmp_path / "ct.nii", phantom.volume.hu.astype(np.int16), phantom.volume.grid)
    out = tmp_path / "out"
    command = [str(installed.command), "segment", str(tmp_path / "ct.nii"), "--out", str(out)]
    subprocess.run(command, check=True, cwd=tmp_path, env=without_checkout())
    report = json.loads((out / "report.json").read_text())
    assert report["model"]["sha256"] == sha256_of_weights()
    assert report["coarse_model"]["name"] == "liver-unet coarse"
    found = read_nifti(out / "liver.nii.gz")[0] > 0
    dsc = 2 * (found & phantom.liver).sum() / (found.sum() + phantom.liver.sum())
    assert dsc > 0.75  # a check that nothing is swapped; accuracy is measured on patients


def test_orthanc_loads_the_plugin_from_the_wheel(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    script = installed.packages / "orthanc_plugin.py"
    server = OrthancServer(tmp_path, {"PythonScript": str(script)})
    with server.until_killed():
        wait_for("the model", lambda: server.get("/liver/status")["Engine"] == "ready", 60)
        status = server.get("/liver/status")
        assert status["SettingsProblems"] == []
        assert status["Model"]["Sha256"] == sha256_of_weights()
        processes = [command_of(one) for one in Path("/proc").glob("[0-9]*")]
        assert processes.count(str(installed.python)) == 1
        page = server.call("GET", "/liver/app")
        assert page.status_code == 200


def command_of(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().split(b"\0")[0].decode()
    except OSError:
        return ""


def test_what_only_measures_the_weights_stays_out(installed: Installed) -> None:
    weights = installed.packages / "liver_unet" / "default_weights"
    assert sorted(one.name for one in weights.iterdir()) == [
        "LICENSE.md",
        "coarse",
        "liver.graph.json",
        "liver.json",
        "liver.safetensors",
    ]
