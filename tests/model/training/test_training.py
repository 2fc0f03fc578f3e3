"""A training learns, survives kill -9 with the same curve, and leaves weights that load."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from liver_unet.model_errors import TrainingRefused
from liver_unet.training import ByMinutes, ByPatches, Cards, TrainingConfig, loop, train
from liver_unet.training.config import PlateauSchedule, TrapezoidSchedule
from liver_unet.training.curves import Curve
from liver_unet.training.pictures import draw_curves
from liver_unet.training.state import TrainingState
from liver_unet.weights import load_model
from tests.model.training.phantom_cases import small_config, write_case_folder, write_case_folders
from tests.support.patience import wait_for

CARDS = Cards(torch.device("cpu"))

KILLED_RUN = """
import sys
from pathlib import Path
import torch
from liver_unet.training import Cards, train
from tests.model.training.phantom_cases import small_config
from tests.model.training.test_training import LONG

cards = Cards(torch.device("cpu"))
train(small_config("fine", **LONG), [Path(sys.argv[1])], Path(sys.argv[2]), cards)
"""
ON_TWO_CARDS = """
import sys
from pathlib import Path
import torch
from liver_unet.training import ByPatches, Cards, train
from tests.model.training.phantom_cases import small_config

out = Path(sys.argv[2])
cards = Cards.from_environment(torch.device("cpu"))
train(small_config("fine", length=ByPatches(16)), [Path(sys.argv[1])], out, cards)
(out / f"seen_{cards.rank}").write_text(repr(cards.own(4, 2)))
cards.leave()
"""
LONG: dict[str, object] = {
    "length": ByPatches(120),
    "validations": 3,
    "schedule": TrapezoidSchedule(warmup=10, cooldown=0.33),
    "learning_rate": 3e-3,
}
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data")
    write_case_folders(data, 4)
    return data


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Another number of them adds up in another order; and these networks are small."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a short training's time; `uninterrupted`, which is begun before, has them."""
    monkeypatch.setattr(loop, "draw_curves", lambda *_: None)


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("uninterrupted")
    train(small_config("fine", **LONG), [data], out, CARDS)
    return out


def losses(out: Path) -> list[float]:
    return [float(row["loss"]) for row in Curve(out / "loss.csv", ("loss", "rate")).rows()]


def weights(out: Path) -> bytes:
    return (out / "last" / "liver.safetensors").read_bytes()


def test_the_loss_goes_down(uninterrupted: Path) -> None:
    curve = losses(uninterrupted)
    assert sum(curve[-10:]) < 0.8 * sum(curve[:10])


def test_what_a_training_leaves(uninterrupted: Path) -> None:
    header, *rows = (uninterrupted / "validation.csv").read_text().splitlines()
    assert header == "patches,case,dsc,volume_ratio"
    assert [row.split(",")[:2] for row in rows] == [
        [patches, case] for patches in ("40", "80", "120") for case in ("a", "c")
    ]
    assert (uninterrupted / "loss.csv").read_text().startswith("patches,loss,learning_rate\n2,")
    for picture in ("curves.png", "validation.png", "patches.png"):
        assert (uninterrupted / picture).read_bytes().startswith(b"\x89PNG")


def test_the_last_weights_are_the_average(uninterrupted: Path) -> None:
    network, spec = load_model(uninterrupted / "last", CARDS.device)
    state = TrainingState(small_config("fine", **LONG), CARDS)
    assert state.load(uninterrupted / "checkpoint.pt")
    for name, tensor in state.average.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor.half().float())
    assert spec.spacing_mm == 12
    assert (spec.training_data, spec.patches_seen) == ("2 patients", 120)
    assert (spec.role, spec.processor) == ("fine", "1 x CPU")
    assert len(spec.class_names) == spec.classes
    assert "on 2 CT of patients not learnt from" in spec.accuracy
    load_model(uninterrupted / "best", CARDS.device)


@pytest.mark.network
def test_kill_9_and_resume_is_the_same_training(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", KILLED_RUN, str(data), str(tmp_path)]
    checkpoint = tmp_path / "checkpoint.pt"
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as killed:
        wait_for("a checkpoint", checkpoint.exists, 120)
        killed.send_signal(signal.SIGKILL)
    reached = torch.load(checkpoint, weights_only=True)["patches"]
    assert 0 < reached < 120
    with (tmp_path / "loss.csv").open("a") as file:
        file.write(f"{reached + 5},9.9,9.9\n")  # a row whose checkpoint the kill prevented
    train(small_config("fine", **LONG), [data], tmp_path, CARDS)
    for curve in ("loss.csv", "validation.csv"):
        assert (tmp_path / curve).read_text() == (uninterrupted / curve).read_text()
    assert weights(tmp_path) == weights(uninterrupted)


def test_a_finished_training_is_not_touched(data: Path, uninterrupted: Path) -> None:
    before = (uninterrupted / "checkpoint.pt").read_bytes()
    train(small_config("fine", **LONG), [data], uninterrupted, CARDS)
    assert (uninterrupted / "checkpoint.pt").read_bytes() == before


@pytest.mark.network
def test_a_longer_training_goes_on_from_before_the_cooldown(data: Path, tmp_path: Path) -> None:
    half = TrapezoidSchedule(warmup=4, cooldown=0.5)
    short = small_config("fine", length=ByPatches(20), validations=1, schedule=half)
    longer = replace(short, length=ByPatches(40))
    train(short, [data], tmp_path / "one", CARDS)
    reached = torch.load(tmp_path / "one" / "before_cooldown.pt", weights_only=True)
    assert (reached["patches"], reached["cooling"]) == (12, False)
    train(longer, [data], tmp_path / "one", CARDS)
    train(longer, [data], tmp_path / "other", CARDS)
    assert (tmp_path / "one/loss.csv").read_text() == (tmp_path / "other/loss.csv").read_text()
    assert weights(tmp_path / "one") == weights(tmp_path / "other")
    record = (tmp_path / "one" / "training.json").read_text()
    with pytest.raises(TrainingRefused, match=r"has learnt from 22 patches .* a greater length"):
        train(short, [data], tmp_path / "one", CARDS)
    assert (tmp_path / "one" / "training.json").read_text() == record


def test_length_by_minutes(data: Path, tmp_path: Path) -> None:
    """At least a step, whatever the machine; then the time is over, and the end is as ever."""
    train(small_config("fine", length=ByMinutes(1e-9)), [data], tmp_path, CARDS)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (state["patches"], state["cooling"]) == (2, False)
    assert len(Curve(tmp_path / "validation.csv", ()).rows()) == 2


@pytest.mark.network
def test_two_cards_learn_one_network(data: Path, tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(ON_TWO_CARDS)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [*torchrun, "--nproc-per-node", "2", str(script), str(data), str(tmp_path / "out")]
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True)
    out = tmp_path / "out"
    rows = Curve(out / "loss.csv", ("loss", "rate")).rows()
    assert [int(row["patches"]) for row in rows] == [4, 8, 12, 16]
    assert [(out / f"seen_{rank}").read_text() for rank in (0, 1)] == ["range(4, 6)", "range(6, 8)"]
    assert load_model(out / "last", CARDS.device)[1].processor == "2 x CPU"
    alone = tmp_path / "alone"
    train(small_config("fine", length=ByPatches(16), batch=4), [data], alone, CARDS)
    assert weights(out) != weights(alone)
    found, expected = (
        torch.cat([p.flatten() for p in load_model(one / "last", CARDS.device)[0].parameters()])
        for one in (out, alone)
    )
    # The same sixteen patches; Dice and dropout are those of two patches, not of four.
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02)


def test_another_training_is_not_continued(data: Path, uninterrupted: Path) -> None:
    with pytest.raises(TrainingRefused, match=r"training.json records another training"):
        train(small_config("fine", **LONG), [data], uninterrupted, CARDS, fold=1)


def test_two_folders_of_data_are_one(data: Path, tmp_path: Path) -> None:
    write_case_folders(tmp_path / "more", 1)
    with pytest.raises(TrainingRefused, match="are both case a: give each case once"):
        train(small_config("fine"), [data, tmp_path / "more"], tmp_path / "out", CARDS)
    shutil.rmtree(tmp_path / "more" / "a")
    write_case_folder(tmp_path / "more" / "x", seed=9)
    config = small_config("fine", length=ByPatches(2))
    train(config, [data, tmp_path / "more"], tmp_path / "out", CARDS, fold=None)
    _, spec = load_model(tmp_path / "out" / "last", CARDS.device)
    assert (spec.training_data, spec.patches_seen) == ("5 patients", 2)


def test_one_ct_under_two_names_is_refused(data: Path, tmp_path: Path) -> None:
    """Else it would be learnt from and judged on."""
    shutil.copytree(data / "a", tmp_path / "more" / "copied")
    with pytest.raises(TrainingRefused, match=r"copied/ct.* and .*a/ct.* are one CT under two"):
        train(small_config("fine"), [data, tmp_path / "more"], tmp_path / "out", CARDS)
    assert not (tmp_path / "out").exists()


@pytest.mark.network
def test_the_published_recipe_learns(data: Path, tmp_path: Path) -> None:
    config = small_config(
        "published", length=ByPatches(80), validations=1, classes=2, learning_rate=1e-2
    )
    train(config, [data], tmp_path, CARDS)
    curve = losses(tmp_path)
    assert sum(curve[-5:]) < 0.9 * sum(curve[:5])


@pytest.mark.network
def test_the_published_recipe_stops_early(data: Path, tmp_path: Path) -> None:
    config = small_config(
        "published",
        length=ByPatches(400),
        validations=100,
        learning_rate=1e-12,  # learns nothing: validation cannot get better
        schedule=PlateauSchedule(factor=0.5, patience=0, stop_after=3),
    )
    train(config, [data], tmp_path, CARDS)
    rows = Curve(tmp_path / "loss.csv", ("loss", "rate")).rows()
    assert int(rows[-1]["patches"]) < 80
    reached = (tmp_path / "loss.csv").read_text()
    train(config, [data], tmp_path, CARDS)
    assert (tmp_path / "loss.csv").read_text() == reached


def test_a_plateau_needs_validation(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingRefused, match="choose a fold"):
        train(small_config("published"), [data], tmp_path, CARDS, fold=None)


def test_all_patients_can_be_learnt_from(data: Path, tmp_path: Path) -> None:
    train(small_config("fine", length=ByPatches(4)), [data], tmp_path, CARDS, fold=None)
    _, spec = load_model(tmp_path / "last", CARDS.device)
    assert (spec.training_data, spec.patches_seen) == ("4 patients", 4)
    assert spec.accuracy == "not measured"
    assert not (tmp_path / "best").exists()
    loss = Curve(tmp_path / "loss.csv", ("loss", "learning_rate"))
    validation = Curve(tmp_path / "validation.csv", ("case", "dsc", "volume_ratio"))
    draw_curves(loss, validation, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def still(**changes: object) -> TrainingConfig:
    """A step too small to change fp16 weights."""
    return small_config("fine", length=ByPatches(2), learning_rate=1e-12, **changes)


def test_a_training_can_begin_from_weights(data: Path, uninterrupted: Path, tmp_path: Path) -> None:
    start = tmp_path / "start"
    shutil.copytree(uninterrupted / "last", start)
    shutil.copytree(uninterrupted / "last", start / "coarse")
    train(still(), [data], tmp_path, CARDS, start=start)
    assert weights(tmp_path) == weights(uninterrupted)
    coarse = (start / "coarse" / "liver.safetensors").read_bytes()
    for name in ("best", "last"):
        assert (tmp_path / name / "coarse" / "liver.safetensors").read_bytes() == coarse
    told, before = (load_model(one, CARDS.device)[1] for one in (tmp_path / "best", start))
    assert told.training_data.endswith(f" patients, after those of weights {before.sha256[:12]}")


@pytest.mark.network
def test_a_training_can_begin_from_weights_of_fewer_classes(data: Path, tmp_path: Path) -> None:
    few = small_config("published", length=ByPatches(2), classes=2)
    train(few, [data], tmp_path / "few", CARDS)
    train(still(), [data], tmp_path / "more", CARDS, start=tmp_path / "few" / "last")
    image = torch.rand(1, 1, 12, 16, 24)
    with torch.no_grad():
        before, after = (
            load_model(tmp_path / name / "last", CARDS.device)[0](image).softmax(dim=1)[:, 1]
            for name in ("few", "more")
        )
    torch.testing.assert_close(before, after, rtol=0, atol=2e-3)


def test_a_training_begun_from_other_weights_is_not_continued(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    train(still(), [data], tmp_path, CARDS, start=uninterrupted / "last")
    train(still(), [data], tmp_path, CARDS, start=uninterrupted / "last")
    with pytest.raises(TrainingRefused, match=r"training.json records another training"):
        train(still(), [data], tmp_path, CARDS)


def test_weights_of_another_network_are_no_beginning(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    wider = small_config("fine", channels=(8, 8, 16))
    with pytest.raises(TrainingRefused, match=r"last holds \[4, 8, 16\] channels and 8 classes"):
        train(wider, [data], tmp_path, CARDS, start=uninterrupted / "last")
    fewer = small_config("published", classes=2)
    with pytest.raises(TrainingRefused, match="the classes not fewer"):
        train(fewer, [data], tmp_path, CARDS, start=uninterrupted / "last")


def test_steps_without_a_number_end_the_training(data: Path, tmp_path: Path) -> None:
    """One costs a step; many in a row say that it has come apart."""
    config = small_config("fine", length=ByPatches(200), learning_rate=1e38)
    with pytest.raises(TrainingRefused, match="20 steps in a row up to patch 42 gave gradients"):
        train(config, [data], tmp_path, CARDS)


def test_a_bad_validation_case_is_refused_before_the_first_step(tmp_path: Path) -> None:
    write_case_folders(tmp_path / "data", 2)
    bad = tmp_path / "data" / "a" / "liver.nii.gz"
    bad.write_bytes(b"")
    with pytest.raises(TrainingRefused, match=r"a/liver.nii.gz cannot be read"):
        train(small_config("fine"), [tmp_path / "data"], tmp_path / "out", CARDS)
    assert losses(tmp_path / "out") == []


@pytest.mark.parametrize("recipe", ["fine", "published"])
def test_every_bad_case_is_named_at_once(recipe: str, tmp_path: Path) -> None:
    write_case_folders(tmp_path / "data", 4)
    for name in ("a", "c", "d"):  # of both groups
        (tmp_path / "data" / name / "liver.nii.gz").write_bytes(b"")
    with pytest.raises(TrainingRefused) as refused:
        train(
            small_config(recipe, classes=2 if recipe == "published" else 8),
            [tmp_path / "data"],
            tmp_path / "out",
            CARDS,
        )
    told = str(refused.value)
    assert all(f"{name}/liver.nii.gz cannot be read" in told for name in ("a", "c", "d"))
    assert "b/liver.nii.gz" not in told
    assert told.endswith("(3 cases are refused)")


def test_a_bad_case_to_learn_from_is_refused_by_the_published_recipe(tmp_path: Path) -> None:
    """MONAI wraps what its transforms raise."""
    write_case_folders(tmp_path / "data", 2)
    (tmp_path / "data" / "b" / "liver.nii.gz").write_bytes(b"")
    with pytest.raises(TrainingRefused, match=r"b/liver.nii.gz cannot be read"):
        train(small_config("published", classes=2), [tmp_path / "data"], tmp_path / "out", CARDS)


def test_a_damaged_checkpoint_is_refused_by_name(
    data: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    shutil.copytree(uninterrupted, tmp_path, dirs_exist_ok=True)
    checkpoint = tmp_path / "checkpoint.pt"
    whole = checkpoint.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"no archive at all"):
        checkpoint.write_bytes(content)
        with pytest.raises(TrainingRefused, match=r"checkpoint.pt cannot be gone on from"):
            train(small_config("fine", **LONG), [data], tmp_path, CARDS)
    torch.save({"network": {}}, checkpoint)
    with pytest.raises(TrainingRefused, match="delete it to begin anew"):
        train(small_config("fine", **LONG), [data], tmp_path, CARDS)


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("name", ["checkpoint.pt", "training.json", "patches.png"])
def test_a_full_disk_ends_a_training_with_the_file_that_it_met(
    data: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / f"{name}.part").symlink_to(FULL)
    with pytest.raises(OSError, match="No space left") as full:
        train(small_config("fine", length=ByPatches(2)), [data], tmp_path, CARDS)
    assert full.value.filename == str(tmp_path / name)
    (tmp_path / "curve.csv").symlink_to(FULL)
    with pytest.raises(OSError, match="No space left") as full:
        Curve(tmp_path / "curve.csv", ("loss",)).append(2, 1.5)
    assert full.value.filename == str(tmp_path / "curve.csv")
