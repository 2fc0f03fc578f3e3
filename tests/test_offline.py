"""The archive of make bundle, on a machine whose network is away."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from liver_unet.nifti import write_nifti
from liver_unet.weights import default_weights
from tests.support.installed import Installed, without_checkout
from tests.support.orthanc_server import CHECKOUT
from tests.support.patience import patience_s
from tests.support.phantom import abdomen

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]
OFFLINE = CHECKOUT / "offline"


def without_network(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return subprocess.run(
        ["unshare", "--net", *user, *command],
        env=without_checkout() | more,
        capture_output=True,
        text=True,
        check=False,
        timeout=patience_s(600),
    )


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle")
    made = [str(OFFLINE / "make.sh"), sys.executable, str(out)]
    subprocess.run(made, check=True, env=without_checkout())
    [archive] = out.glob("*.tar")
    subprocess.run(["sha256sum", "--check", f"{archive.name}.sha256"], check=True, cwd=out)
    shutil.unpack_archive(archive, out)
    archive.unlink()
    return archive.with_suffix("")


def test_it_installs_and_outlines_a_liver(unpacked: Path, tmp_path: Path) -> None:
    environment = Installed(tmp_path / "environment")
    install = str(unpacked / "install.sh")
    done = without_network(install, str(environment.environment), PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    script = environment.packages / "orthanc_plugin.py"
    assert script.is_file()
    assert f'{{ "PythonScript": "{script}" }}' in done.stdout

    phantom = abdomen((44, 65, 85), (6.5, 5.0, 4.6))
    write_nifti(tmp_path / "ct.nii", phantom.volume.hu.astype(np.int16), phantom.volume.grid)
    out = tmp_path / "out"
    words = ("segment", str(tmp_path / "ct.nii"), "--out", str(out))
    done = without_network(str(environment.command), *words)
    assert done.returncode == 0, done.stderr
    spec = json.loads((default_weights() / "liver.json").read_text())
    assert json.loads((out / "report.json").read_text())["model"]["sha256"] == spec["sha256"]


def test_a_file_that_was_changed_is_not_installed(unpacked: Path, tmp_path: Path) -> None:
    [wheel] = unpacked.glob("wheels/shtab-*.whl")
    kept = wheel.read_bytes()
    wheel.write_bytes(kept + b"more")
    try:
        install = str(unpacked / "install.sh")
        done = without_network(install, str(tmp_path / "environment"), PYTHON=sys.executable)
    finally:
        wheel.write_bytes(kept)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


def test_another_python_is_refused(unpacked: Path, tmp_path: Path) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho python3.9-x86_64\n")
    other.chmod(0o755)
    done = without_network(str(unpacked / "install.sh"), str(tmp_path / "new"), PYTHON=str(other))
    assert done.returncode == 1
    assert "is python3.9-x86_64" in done.stderr
    assert not (tmp_path / "new").exists()
