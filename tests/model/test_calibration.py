"""Limits and counts from outlines of known error."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import special

from liver_unet.calibration import (
    Outlined,
    _read,
    aurc,
    auroc,
    calibrate,
    calibrated,
    crps,
    risk_coverage,
    table,
)
from liver_unet.model_errors import TrainingRefused, WeightsRefused
from liver_unet.network import build_network
from liver_unet.segmenter import Segmenter
from liver_unet.weights import Calibration, ModelSpec, load_model, save_weights
from tests.support.case_writer import write_nifti_case
from tests.support.liver_by_hu import segmenter_by_hu
from tests.support.phantom import abdomen, oriented

SIZE = ((40, 70, 88), (7.0, 4.6, 4.4))


def tiny_weights(folder: Path) -> ModelSpec:
    spec = ModelSpec("tiny", 5.0, (-200.0, 250.0), (8, 8, 8), (2, 4), 2, "none", "none", "none")
    torch.manual_seed(1)
    return save_weights(build_network(spec.channels, spec.classes), spec, folder)


def outlined(n: int, dsc: float, unsure: float, disagreement: float = 0.0) -> list[Outlined]:
    return [
        Outlined(str(i), "as it is", "sha", dsc, 1.0, 1.0, unsure, unsure, disagreement)
        for i in range(n)
    ]


def graded(count: int) -> list[Outlined]:
    """Good ones of doubt 0.00 to 0.99, wrong ones of 0.5 to 2.5."""
    good = [one for i in range(count) for one in outlined(1, 0.96, i / count)]
    wrong = [one for i in range(20) for one in outlined(1, 0.80, 0.5 + i / 10)]
    return good + wrong


def test_of_twenty_good_ones_three_are_worth_a_look_and_one_of_these_is_doubtful() -> None:
    rule = calibrated(graded(100), "drawn")
    look, doubtful = rule.limits["unsure_share"]
    assert look == pytest.approx(0.85, abs=0.011)
    assert doubtful == pytest.approx(0.95, abs=0.011)
    # Wrong ones: 0.5 to 0.8 sure, 0.9 worth a look, the other 15 doubtful.
    assert rule.counts == {"sure": (4, 89), "look": (1, 11), "doubtful": (15, 20)}
    assert sum(count for _, count in rule.counts.values()) == 120
    assert rule.measured_on == "drawn"


def test_with_several_signals_the_false_alarms_are_those_of_all_together() -> None:
    random = np.random.default_rng(1)
    rows = [
        Outlined(str(i), "noise", "sha", 0.97, 1.01, 1.0, *random.random(3)) for i in range(1000)
    ]
    rule = calibrated(rows, "drawn")
    assert 850 <= rule.counts["sure"][1] <= 865
    assert 40 <= rule.counts["doubtful"][1] <= 50


def test_a_volume_off_by_more_than_a_tenth_is_wrong_and_a_liver_not_found_has_no_grade() -> None:
    rows = outlined(9, 0.95, 0.1)
    rows.append(Outlined("x", "noise", "sha", 0.95, 1.12, 1.0, 0.3, 0.3))
    rows.append(Outlined("y", "noise", "sha", 0.0, 0.0, float("nan")))
    rule = calibrated(rows, "drawn")
    counts = rule.counts
    assert counts["sure"] == (0, 9)
    assert sum(count for _, count in counts.values()) == 10
    assert "1 livers were not found" in table(rows, rule)


def test_false_alarms_are_told_apart_by_disease() -> None:
    rule = Calibration({"unsure_share": (0.5, 0.9)}, {}, "drawn")
    rows = [
        Outlined("x", "tumours", "sha", 0.96, 1.0, 1.0, 0.6),
        Outlined("x", "dark liver", "sha", 0.96, 1.0, 1.0, 0.4),
        Outlined("x", "necrosis", "sha", 0.80, 1.0, 1.0, 0.95),
        Outlined("x", "noise", "sha", 0.96, 1.0, 1.0, 0.4),
        Outlined("x", "as it is", "sha", 0.96, 1.0, 1.0, 0.1),
    ]
    told = table(rows, rule)
    assert "marked all the same: 1 of 2 changed by disease" in told
    assert "marked all the same: 0 of 2 all others" in told


def test_crps_is_that_of_the_integral() -> None:
    """Of (F(x) - [x > error])^2, summed."""
    x = np.linspace(-4, 4, 400_001)
    for error, deviation in ((0.0, 0.1), (-0.35, 0.1), (0.2, 0.5)):
        below = special.ndtr(x / deviation)
        by_hand = np.sum((below - (x > error)) ** 2) * (x[1] - x[0])
        assert crps(np.array([error]), np.array([deviation])) == pytest.approx(by_hand, rel=1e-3)


def test_without_a_good_outline_there_is_no_calibration() -> None:
    with pytest.raises(TrainingRefused, match="no outline is good enough"):
        calibrated(outlined(5, 0.5, 0.1), "drawn")


NO_RULE = Calibration({}, {}, "drawn")


def wrong_one(share: float, is_wrong: bool) -> Outlined:
    return Outlined("x", "noise", "sha", 0.8 if is_wrong else 0.96, 1.0, 1.0, share)


def test_auroc_and_aurc_by_hand() -> None:
    values = np.array([0.1, 0.2, 0.2, 0.4])
    wrong = np.array([False, True, False, True])
    assert auroc(values, wrong) == pytest.approx((1 + 0.5 + 1 + 1) / 4)
    error = np.array([0.0, 0.3, 0.0, 0.6])
    told = "wrong: 0 of the surest 1, 1 of the surest 2, 1 of the surest 3, 2 of the surest 4"
    assert risk_coverage(values, wrong) == told
    assert told in table([wrong_one(i / 10, bool(i % 2)) for i in (0, 1, 2, 3)], NO_RULE)
    assert aurc(values, error) == pytest.approx((0 + 0.15 + 0.1 + 0.225) / 4)


def test_what_is_outlined_stays_and_the_spec_takes_the_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spec's network is not asked; one that knows the phantom's liver plays it."""
    phantom = abdomen(*SIZE)
    for name in ("first", "second"):
        write_nifti_case(tmp_path / "data" / name, phantom)
    weights = tmp_path / "weights"
    spec = tiny_weights(weights)
    asked: list[float] = []

    class Known(Segmenter):
        def segment(self, volume, stages):  # type: ignore[no-untyped-def]
            asked.append(float(volume.hu.mean()))
            return segmenter_by_hu().segment(volume, stages)

    whole = Segmenter.load(weights, "cpu")
    monkeypatch.setattr(Segmenter, "load", lambda *_: Known(whole.fine))
    monkeypatch.setattr("liver_unet.calibration.PERTURBATIONS", {"darker": None, "no place": None})

    def changed(patient, name):  # type: ignore[no-untyped-def]
        if name == "no place":
            raise ValueError("there is no place for it")
        return patient

    monkeypatch.setattr("liver_unet.calibration.perturbed", changed)
    monkeypatch.setattr("liver_unet.calibration._LEAST_DSC", 0.5)
    monkeypatch.setattr("liver_unet.calibration._MOST_VOLUME_ERROR", 0.5)
    rows, rule = calibrate(tmp_path / "data", weights, tmp_path / "out", ["second"])
    assert [(row.case, row.change) for row in rows] == [
        ("second", "as it is"),
        ("second", "darker"),
    ]
    assert len(asked) == 2
    assert load_model(weights, torch.device("cpu"))[1].calibration == rule
    assert rule.measured_on == "2 outlines of 1 patients: second"

    again, _ = calibrate(tmp_path / "data", weights, tmp_path / "out", ["second", "second"])
    assert len(asked) == 2
    assert again == rows

    both = Known(whole.fine, whole.fine)
    monkeypatch.setattr(Segmenter, "load", lambda *_: both)
    calibrate(tmp_path / "data", weights, tmp_path / "out", ["second"])
    assert len(asked) == 4  # another coarse network makes other outlines
    with (tmp_path / "out" / "outlines.csv").open(newline="") as file:
        models = [row["model"] for row in csv.DictReader(file)]
    assert models == [spec.sha256] * 3 + [both.sha256] * 3

    with pytest.raises(TrainingRefused, match="no case 'third'; it holds first, second"):
        calibrate(tmp_path / "data", weights, tmp_path / "out", ["third"])
    for name in ("first", "second"):
        (tmp_path / "data" / name / "liver.nii.gz").write_bytes(b"")
    with pytest.raises(TrainingRefused, match=r"first/liver.*second/liver.*2 cases are refused"):
        calibrate(tmp_path / "data", weights, tmp_path / "out")
    monkeypatch.setattr("liver_unet.calibration.os.access", lambda path, _: path != weights)
    with pytest.raises(WeightsRefused, match=r"weights cannot be written, .* copy the folder"):
        calibrate(tmp_path / "data", weights, tmp_path / "out", ["second"])


def test_a_tilted_ct_is_measured_but_for_distances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nifti_case(tmp_path / "data" / "1.2.840.1", oriented(abdomen(*SIZE), "tilted"))
    spec = tiny_weights(tmp_path / "weights")
    whole = Segmenter.load(tmp_path / "weights", "cpu").fine

    class Known(Segmenter):
        def segment(self, volume, stages):  # type: ignore[no-untyped-def]
            return segmenter_by_hu().segment(volume, stages)

    monkeypatch.setattr(Segmenter, "load", lambda *_: Known(whole))
    monkeypatch.setattr("liver_unet.calibration.PERTURBATIONS", {})
    monkeypatch.setattr("liver_unet.calibration._LEAST_DSC", 0.5)
    monkeypatch.setattr("liver_unet.calibration._MOST_VOLUME_ERROR", 0.5)
    [row], rule = calibrate(tmp_path / "data", tmp_path / "weights", tmp_path / "out")
    assert row.model == spec.sha256
    assert row.dsc > 0.7
    assert np.isnan(row.mda_mm)
    assert "nan" in table([row], rule)
    # Of DICOM a case's name is a UID, and the spec travels.
    assert rule.measured_on == "1 outlines of 1 patients"


@pytest.mark.parametrize(
    "content", ["not,a,table\n1,2,3\n", "case,change,model,dsc\na,as it is,m\n", "\0\n\0\n"]
)
def test_a_table_of_something_else_is_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "outlines.csv"
    path.write_text(content)
    with pytest.raises(TrainingRefused, match=r"outlines\.csv is no table of outlines"):
        _read(path)
