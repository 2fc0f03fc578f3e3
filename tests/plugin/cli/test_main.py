"""The command line as a whole: what needs no computing loads nothing that computes."""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from liver_unet import DEFAULT_WEIGHTS
from liver_unet.ct_nifti import MINIMUM_SLICES
from liver_unet.nifti import write_nifti
from orthanc_liver import __version__
from orthanc_liver.cli.exit_status import REFUSED, STOPPED
from orthanc_liver.cli.main import _parser, main
from tests.support.patience import wait_for
from tests.support.phantom import abdomen, small_abdomen

HEAVY = {"torch", "monai", "numpy", "pydicom", "nibabel", "scipy", "highdicom", "tqdm"}
COMMANDS = [
    *("segment", "activity", "train", "calibrate", "export", "evaluate"),
    *("atlas", "constancy", "doctor"),
]


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


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Every command that does something, by the words that name it."""

    def below(name: str, parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
        steps = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
        if not steps:
            return {name: parser}
        found: dict[str, argparse.ArgumentParser] = {}
        for word, inner in steps[0].choices.items():
            found |= below(f"{name} {word}", inner)
        return found

    return below("", _parser())


@pytest.mark.parametrize("parser", parsers().values(), ids=parsers())
def test_every_commands_help_has_an_example_that_it_takes(parser: argparse.ArgumentParser) -> None:
    words = shlex.split((parser.epilog or "").removeprefix("example: %(prog)s "))
    assert parser.parse_args(words)
    assert all(action.help for action in parser._actions)


def test_the_help_tells_defaults() -> None:
    helps = {name: parser.format_help() for name, parser in parsers().items()}
    assert f"refused (default: {MINIMUM_SLICES})" in " ".join(helps[" segment"].split())
    for name in (" segment", " train", " calibrate", " evaluate", " constancy"):
        assert "(default: auto)" in helps[name]
    assert "(default: None)" not in "".join(helps.values())


def test_the_version_names_program_and_networks(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    program, *networks = capsys.readouterr().out.splitlines()
    assert program == f"orthanc-liver {__version__}"
    for line, folder in zip(networks, (".", "coarse"), strict=True):
        content = (DEFAULT_WEIGHTS / folder / "liver.safetensors").read_bytes()
        assert line.endswith(f" {hashlib.sha256(content).hexdigest()}")


def test_a_shell_learns_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--print-completion", "bash"])
    script = capsys.readouterr().out
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    for words in ("--minimum-slices", "--lung-shunt", "leave-one-out", *COMMANDS):
        assert words in script


@pytest.mark.parametrize("command", [["segment", "ct.nii"], ["train", "--data", "cases"]])
def test_a_gpu_that_is_not_there_is_said_in_one_sentence(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.chdir(tmp_path)
    write_nifti(tmp_path / "ct.nii", np.zeros((12, 9, 8), np.int16), small_abdomen().volume.grid)
    assert main([*command, "--out", "out", "--device", "cuda"]) == REFUSED
    said = capsys.readouterr().err
    assert said.startswith("orthanc-liver: PyTorch sees no GPU cuda here: choose cpu")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ["segment", "input"],
        ["segment", "--list", "input"],
        ["evaluate", "--cases", "input"],
        ["train", "--data", "input"],
        ["atlas", "build", "--data", "input"],
    ],
    ids=" ".join,
)
def test_a_folder_that_cannot_be_written_is_said_in_one_sentence(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("where a folder should be")
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "study").mkdir()
    assert main([*command, "--out", "file/out"]) == REFUSED
    said = capsys.readouterr().err
    assert said.startswith("orthanc-liver: ")
    assert said.count("\n") == 1


@pytest.mark.network
def test_ctrl_c_ends_a_command_with_a_sentence(tmp_path: Path) -> None:
    """While it imports, too, when libraries would make another error of it."""
    out = tmp_path / "out"
    phantom = abdomen().volume
    write_nifti(tmp_path / "ct.nii", phantom.hu.astype(np.int16), phantom.grid)
    command = [sys.executable, "-m", "orthanc_liver.cli.main", "segment", str(tmp_path / "ct.nii")]
    with subprocess.Popen(
        [*command, "--out", str(out)], stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for("the beginning", (out / "report.json").exists, 60)
        process.send_signal(signal.SIGINT)
        [_, said] = process.communicate()
    assert (process.returncode, said) == (STOPPED, "orthanc-liver: stopped\n")
    assert json.loads((out / "report.json").read_text())["outcome"] == "failed"


@pytest.mark.parametrize("fold", ["²", "-1", "one", "1.5"])
def test_a_fold_that_is_no_number_is_refused(
    fold: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["train", "--data", str(tmp_path), "--out", str(tmp_path / "out"), f"--fold={fold}"]
    assert main(given) == REFUSED
    assert capsys.readouterr().err == f'orthanc-liver: --fold {fold}: give a number or "all"\n'
