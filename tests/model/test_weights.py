"""Weights and spec travel together, or are refused by a sentence."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from liver_unet.model_errors import WeightsRefused
from liver_unet.network import build_network
from liver_unet.weights import ModelSpec, load_model, save_weights

CPU = torch.device("cpu")
SPEC = ModelSpec(
    name="tiny",
    spacing_mm=2.5,
    window_hu=(-200.0, 250.0),
    patch=(8, 12, 16),
    channels=(4, 8, 16),
    classes=3,
    training_data="nobody",
    accuracy="none",
    licence="none",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    save_weights(build_network(SPEC.channels, SPEC.classes), SPEC, tmp_path)
    return tmp_path


def change_spec(folder: Path, **changes: Any) -> None:
    path = folder / "liver.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def calibration(**changes: Any) -> dict[str, Any]:
    return {"limits": {}, "counts": {}, "measured_on": "drawn", **changes}


def test_saved_and_loaded_is_the_same_network(tmp_path: Path) -> None:
    network = build_network(SPEC.channels, SPEC.classes).eval()
    saved = save_weights(network, SPEC, tmp_path)
    loaded, spec = load_model(tmp_path, CPU)
    assert spec == saved
    assert not loaded.training
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor.half().float())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["liver.json", "liver.safetensors"]


def test_saving_again_changes_no_byte(folder: Path) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    network, spec = load_model(folder, CPU)
    save_weights(network, spec, folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_one_changed_byte_is_refused(folder: Path) -> None:
    path = folder / "liver.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsRefused, match="SHA-256") as refusal:
        load_model(folder, CPU)
    assert str(path) in str(refusal.value)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    change_spec(folder, channels=[4, 8, 32])
    with pytest.raises(WeightsRefused, match="does not hold the network"):
        load_model(folder, CPU)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spacing_mm": "2.5"}, "'spacing_mm' cannot be '2.5'"),
        ({"spacing_mm": True}, "'spacing_mm' cannot be True"),
        ({"window_hu": [250, -200]}, "'window_hu' cannot be"),
        ({"patch": [8, 12]}, "'patch' cannot be"),
        ({"classes": 1}, "'classes' cannot be 1"),
        ({"spacing": 2.5}, "'spacing' is unknown: weights of a later version need that version"),
        ({"spacing_mm": float("inf")}, "Infinity is no number"),
        ({"patch": [8, 12, 18]}, "cannot halve the patch [8, 12, 18] so often"),
        ({"class_names": ["rest", "spleen", "liver"]}, "these weights outline something else"),
        ({"class_names": ["rest", "liver"]}, "are not 3 names"),
        ({"calibration": {"counts": {}, "measured_on": ""}}, "'calibration' cannot be"),
        ({"calibration": calibration(limits={"wrong_share": [0.1, "0.2"]})}, "cannot be"),
        ({"calibration": calibration(limits={"wrong_share": [0.1, float("nan")]})}, "no number"),
        ({"calibration": calibration(limits={"wrong_share": [-0.1, 0.2]})}, "cannot be"),
        ({"calibration": calibration(counts={"sure": [-1, 3]})}, "'calibration' cannot be"),
        ({"calibration": calibration(counts={"sure": [4, 3]})}, "'calibration' cannot be"),
        ({"calibration": calibration(counts={"certain": [1, 3]})}, "'calibration' cannot be"),
    ],
)
def test_a_wrong_spec_is_refused(folder: Path, change: dict[str, Any], said: str) -> None:
    change_spec(folder, **change)
    with pytest.raises(WeightsRefused, match=r"liver\.json") as refusal:
        load_model(folder, CPU)
    assert said in str(refusal.value)


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_a_spec_that_is_none_is_refused(folder: Path, content: str) -> None:
    (folder / "liver.json").write_text(content)
    with pytest.raises(WeightsRefused, match=r"liver\.json"):
        load_model(folder, CPU)


@pytest.mark.parametrize("name", ["liver.json", "liver.safetensors"])
def test_a_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(WeightsRefused, match=f"{name} cannot be read: No such file"):
        load_model(folder, CPU)


def test_a_pickle_is_never_opened(folder: Path) -> None:
    path = folder / "liver.safetensors"
    torch.save(build_network(SPEC.channels, SPEC.classes).state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    change_spec(folder, sha256=digest)
    with pytest.raises(WeightsRefused, match="does not hold the network"):
        load_model(folder, CPU)


def test_a_network_that_diverged_is_not_saved(tmp_path: Path) -> None:
    network = build_network(SPEC.channels, SPEC.classes)
    with torch.no_grad():
        next(network.parameters()).fill_(1e6)
    with pytest.raises(WeightsRefused, match="fp16"):
        save_weights(network, SPEC, tmp_path)
    assert not list(tmp_path.iterdir())


def test_weights_that_hold_no_number_are_refused(folder: Path) -> None:
    path = folder / "liver.safetensors"
    tensors = safetensors.torch.load_file(path)
    name, tensor = next(iter(tensors.items()))
    tensor.view(-1)[1] = float("nan")
    path.write_bytes(safetensors.torch.save(tensors))
    change_spec(folder, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(WeightsRefused, match=f"safetensors: {name} holds what is no number"):
        load_model(folder, CPU)


def test_the_file_is_half_precision(folder: Path) -> None:
    tensors = safetensors.torch.load_file(folder / "liver.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
