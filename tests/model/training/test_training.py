"""A training learns, survives kill -9 with the same curve, and leaves weights that load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from liver_unet.model_errors import TrainingRefused
from liver_unet.training import train
from liver_unet.training.config import PlateauSchedule, TrapezoidSchedule
from liver_unet.training.curves import Curve
from liver_unet.training.state import TrainingState
from liver_unet.weights import load_model
from tests.model.training.phantom_cases import small_config, write_case_folders
from tests.support.patience import wait_for

CPU = torch.device("cpu")

KILLED_RUN = """
import sys
from pathlib import Path
import torch
from liver_unet.training import train
from tests.model.training.phantom_cases import small_config
from tests.model.training.test_training import LONG

train(small_config("compact", **LONG), Path(sys.argv[1]), Path(sys.argv[2]), torch.device("cpu"))
"""
LONG: dict[str, object] = {
    "steps": 60,
    "validate_every": 25,
    "checkpoint_every": 10,
    "schedule": TrapezoidSchedule(warmup=5, cooldown=20),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data")
    write_case_folders(data, 4)
    return data


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted")
    train(small_config("compact", **LONG), data, out, CPU)
    return out


def losses(out: Path) -> list[float]:
    return [float(row["loss"]) for row in Curve(out / "loss.csv", ("loss", "rate")).rows()]


def test_the_loss_goes_down(uninterrupted: Path) -> None:
    curve = losses(uninterrupted)
    assert curve[-1] < 0.8 * curve[0]


def test_what_a_training_leaves(uninterrupted: Path) -> None:
    header, *rows = (uninterrupted / "validation.csv").read_text().splitlines()
    assert header == "step,case,dsc,volume_ratio"
    assert [row.split(",")[:2] for row in rows] == [
        [step, case] for step in ("25", "50", "60") for case in ("a", "c")
    ]
    assert (uninterrupted / "loss.csv").read_text().startswith("step,loss,learning_rate\n10,")
    for picture in ("curves.png", "validation.png"):
        assert (uninterrupted / picture).read_bytes().startswith(b"\x89PNG")


def test_the_last_weights_are_the_average(uninterrupted: Path) -> None:
    network, spec = load_model(uninterrupted / "last", CPU)
    state = TrainingState(small_config("compact", **LONG), CPU)
    state.load(uninterrupted / "checkpoint.pt")
    for name, tensor in state.average.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor.half().float())
    assert spec.spacing_mm == 12
    assert spec.training_data == "2 patients"
    assert "on 2 patients not learnt from" in spec.accuracy
    load_model(uninterrupted / "best", CPU)


@pytest.mark.network
def test_kill_9_and_resume_is_the_same_training(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", KILLED_RUN, str(data), str(tmp_path)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "OMP_NUM_THREADS": "1",
    }
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as killed:
        wait_for("two steps", lambda: len(losses(tmp_path)) >= 2, 120)
        killed.send_signal(signal.SIGKILL)
    reached = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"]
    assert 0 < reached < 60
    with Path(tmp_path / "loss.csv").open("a") as file:
        file.write(f"{reached + 5},9.9,9.9\n")  # a row whose checkpoint the kill prevented
    train(small_config("compact", **LONG), data, tmp_path, CPU)
    for curve in ("loss.csv", "validation.csv"):
        assert (tmp_path / curve).read_text() == (uninterrupted / curve).read_text()
    weights = Path("last") / "liver.safetensors"
    assert (tmp_path / weights).read_bytes() == (uninterrupted / weights).read_bytes()


def test_a_finished_training_is_not_touched(data: Path, uninterrupted: Path) -> None:
    before = (uninterrupted / "checkpoint.pt").read_bytes()
    train(small_config("compact", **LONG), data, uninterrupted, CPU)
    assert (uninterrupted / "checkpoint.pt").read_bytes() == before


def test_another_training_is_not_continued(data: Path, uninterrupted: Path) -> None:
    with pytest.raises(TrainingRefused, match=r"training.json records another training"):
        train(small_config("compact", **LONG), data, uninterrupted, CPU, fold=1)


def test_the_published_recipe_learns(data: Path, tmp_path: Path) -> None:
    config = small_config(
        "published", steps=40, validate_every=40, checkpoint_every=10, learning_rate=1e-2
    )
    train(config, data, tmp_path, CPU)
    curve = losses(tmp_path)
    assert curve[-1] < 0.9 * curve[0]


def test_the_published_recipe_stops_early(data: Path, tmp_path: Path) -> None:
    config = small_config(
        "published",
        steps=200,
        validate_every=2,
        learning_rate=1e-12,  # learns nothing: validation cannot get better
        schedule=PlateauSchedule(factor=0.5, patience=0, stop_after=3),
    )
    train(config, data, tmp_path, CPU)
    rows = Curve(tmp_path / "loss.csv", ("loss", "rate")).rows()
    assert int(rows[-1]["step"]) < 40
    reached = (tmp_path / "loss.csv").read_text()
    train(config, data, tmp_path, CPU)
    assert (tmp_path / "loss.csv").read_text() == reached


def test_a_plateau_needs_validation(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingRefused, match="choose a fold"):
        train(small_config("published"), data, tmp_path, CPU, fold=None)


def test_all_patients_can_be_learnt_from(data: Path, tmp_path: Path) -> None:
    train(small_config("compact", steps=2), data, tmp_path, CPU, fold=None)
    _, spec = load_model(tmp_path / "last", CPU)
    assert (spec.training_data, spec.accuracy) == ("4 patients", "not measured")
    assert not (tmp_path / "best").exists()


def test_a_training_can_begin_from_weights(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    """A step too small to change fp16 weights leaves what it began from."""
    still = small_config("fine", steps=1, learning_rate=1e-12)
    train(still, data, tmp_path, CPU, start=uninterrupted / "last")
    weights = Path("last") / "liver.safetensors"
    assert (tmp_path / weights).read_bytes() == (uninterrupted / weights).read_bytes()
    with pytest.raises(TrainingRefused, match=r"start_share = 0\.5: name the weights"):
        train(still, data, tmp_path / "other", CPU)


def test_what_it_began_from_has_a_share_in_the_weights(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    found = []
    for share in (0.0, 0.5, 1.0):
        config = small_config("fine", steps=2, learning_rate=1e-2, start_share=share)
        out = tmp_path / str(share)
        train(config, data, out, CPU, start=uninterrupted / "last")
        network, _ = load_model(out / "last", CPU)
        found.append(torch.cat([p.flatten() for p in network.parameters()]))
    none, half, all_of_it = found
    start, _ = load_model(uninterrupted / "last", CPU)
    assert torch.equal(all_of_it, torch.cat([p.flatten() for p in start.parameters()]))
    assert not torch.equal(none, all_of_it)
    torch.testing.assert_close(half, (none + all_of_it) / 2, rtol=0, atol=2e-3)


def test_a_training_begun_from_other_weights_is_not_continued(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    config = small_config("fine", steps=1, start_share=0.0)
    train(config, data, tmp_path, CPU, start=uninterrupted / "last")
    train(config, data, tmp_path, CPU, start=uninterrupted / "last")
    with pytest.raises(TrainingRefused, match=r"training.json records another training"):
        train(config, data, tmp_path, CPU)


def test_weights_of_another_network_are_no_beginning(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    wider = small_config("fine", channels=(8, 8, 16))
    with pytest.raises(TrainingRefused, match=r"last holds \[4, 8, 16\] channels and 3 classes"):
        train(wider, data, tmp_path, CPU, start=uninterrupted / "last")


def test_a_bad_validation_case_is_refused_before_the_first_step(tmp_path: Path) -> None:
    write_case_folders(tmp_path / "data", 2)
    bad = tmp_path / "data" / "a" / "liver.nii.gz"
    bad.write_bytes(b"")
    with pytest.raises(TrainingRefused, match=r"a/liver.nii.gz cannot be read"):
        train(small_config("compact"), tmp_path / "data", tmp_path / "out", CPU)
    assert losses(tmp_path / "out") == []
