"""The command line as a whole: what needs no computing loads nothing that computes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "monai", "numpy", "pydicom", "nibabel", "scipy", "highdicom", "tqdm"}
COMMANDS = ("segment", "activity", "train", "export", "evaluate", "atlas")


def loaded_by(*arguments: str) -> set[str]:
    """The packages that a run of the command has loaded in the end; it must succeed."""
    program = (
        "import json, sys\n"
        "from orthanc_liver.cli.main import main\n"
        "try:\n"
        "    status = main(sys.argv[1:])\n"
        "except SystemExit as end:\n"
        "    status = end.code\n"
        "sys.stderr.write(json.dumps([name.split('.')[0] for name in sys.modules]))\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout
    return set(json.loads(done.stderr))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["--help"],
        *([command, "--help"] for command in COMMANDS),
        ["activity", "--method=glass", "--liver-ml=1500", "--dose-gy=120", "--lung-shunt=0.05"],
    ],
    ids=" ".join,
)
def test_nothing_that_computes_is_loaded(arguments: list[str]) -> None:
    loaded = loaded_by(*arguments)
    assert not loaded & HEAVY
    assert "orthanc_liver" in loaded
