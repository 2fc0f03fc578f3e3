"""Every kind of case has its share of the patches, every patient an even part of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from liver_unet.liver import LIVER
from liver_unet.model_errors import TrainingRefused
from liver_unet.training.shares import Shares, chances, kind_of
from liver_unet.training.tissues import GALLBLADDER, SPLEEN, STOMACH
from tests.model.training.plain_patch import plain_case

ALONE = replace(plain_case(), outlined=frozenset({LIVER, SPLEEN}))
OUTLINED = replace(plain_case(), outlined=frozenset({LIVER, SPLEEN, STOMACH, GALLBLADDER}))
CUT = replace(OUTLINED, cut=np.array([[False] * 3, [False, False, True]]))
COARSE = replace(CUT, scanned_mm=4.07)
SHARES = Shares(coarse=0.1, cut=0.2, outlined=0.4, alone=0.3)


def test_kinds() -> None:
    kinds = [kind_of(case) for case in (ALONE, OUTLINED, CUT, COARSE)]
    assert kinds == ["alone", "outlined", "cut", "coarse"]


def test_shares_are_dealt_to_patients_and_then_to_volumes() -> None:
    cases = {"a": OUTLINED, "b": OUTLINED, "c": OUTLINED, "d": ALONE, "e": CUT, "f": COARSE}
    patients = {"a": "a", "b": "a", "c": "c", "d": "d", "e": "e", "f": "f"}
    found = chances(cases, patients, SHARES)
    expected = {"a": 0.1, "b": 0.1, "c": 0.2, "d": 0.3, "e": 0.2, "f": 0.1}
    assert found == pytest.approx(expected)


def test_the_share_of_a_kind_without_cases_goes_to_the_others() -> None:
    found = chances({"a": OUTLINED, "d": ALONE}, {"a": "a", "d": "d"}, SHARES)
    assert found == pytest.approx({"a": 4 / 7, "d": 3 / 7})


def test_no_share_is_refused() -> None:
    with pytest.raises(TrainingRefused, match="cut = 0"):
        Shares(cut=0.0)
