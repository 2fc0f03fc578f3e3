"""What make would do to the environment of a server, of a copy and of a link."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.bench.__main__ import PARTS
from tests.support.orthanc_server import CHECKOUT


def told(target: str, environment: Path) -> str:
    """What make would run, without running it."""
    command = ["make", "--dry-run", "--no-print-directory", target, f"VENV={environment}"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return done.stdout


def environment(folder: Path, made_at: Path) -> Path:
    """What python -m venv and make leave, as far as make looks at it."""
    folder.mkdir()
    (folder / "pyvenv.cfg").write_text(
        f"home = /usr/bin\ncommand = /usr/bin/python3 -m venv {made_at}\n"
    )
    for name in ("runs", "installed"):
        (folder / name).touch()
    return folder


def test_a_server_gets_what_runs_and_not_the_tests_tools(tmp_path: Path) -> None:
    assert '--editable "."\n' in told("install", tmp_path / "new")
    assert '--editable ".[test]"\n' in told("check", tmp_path / "new")


@pytest.mark.parametrize("target", ["install", "check"])
def test_an_environment_that_was_copied_is_made_anew(target: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    assert "venv --clear" in told(target, environment(here, tmp_path / "there"))


@pytest.mark.parametrize("target", ["install", "check"])
def test_an_environment_in_its_place_stays(target: str, tmp_path: Path) -> None:
    here = environment(tmp_path / "here", tmp_path / "here")
    link = tmp_path / "link"
    link.symlink_to(here)
    for place in (here, link):
        assert "-m venv" not in told(target, place)


def make(*words: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--dry-run", "--no-print-directory", *words]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)


def test_a_part_of_the_bench_that_is_not_there_is_refused_before_anything_is_fetched() -> None:
    refused = make("bench", "ONLY=stages,stges")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "there is no part stges; there are " + " ".join(PARTS) + "." in refused.stderr
    assert "-m tests.bench stages viewing\n" in make("bench", "ONLY=stages,viewing").stdout
    assert make("check", "ONLY=stges").returncode == 0


def test_a_folder_of_wheels_may_have_a_space_in_its_name() -> None:
    assert '"/tmp/my wheels"/*.whl\n' in make("bench-gpu", "WHEELS=/tmp/my wheels").stdout
