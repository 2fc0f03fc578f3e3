"""Every patient is validated on exactly once, whatever the data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liver_unet.model_errors import TrainingRefused
from liver_unet.training.config import load_config
from liver_unet.training.folds import deal, split

NAMES = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=2, max_size=20, unique=True)


@given(names=NAMES, folds=st.integers(2, 6), named=st.integers(0, 4))
def test_folds_part_the_patients(names: list[str], folds: int, named: int) -> None:
    fold_0 = sorted(names)[:named]
    groups = deal(names, folds, fold_0)
    assert len(groups) == folds
    assert sorted(name for group in groups for name in group) == sorted(names)
    if fold_0:
        assert groups[0] == fold_0
    assert deal(names[::-1], folds, fold_0) == groups


def test_the_first_fold_of_the_default_weights() -> None:
    config = load_config("compact")
    others = [f"case_{n:02}" for n in range(11)]
    learn, judge = split([*others, *config.fold_0], config.folds, config.fold_0, 0)
    assert learn == others
    assert sorted(judge) == sorted(config.fold_0)


def test_other_data_is_dealt_by_name() -> None:
    assert split(list("dcba"), 2, ("elsewhere",), 1) == (["a", "c"], ["b", "d"])


def test_no_fold_learns_from_all() -> None:
    assert split(list("cab"), 3, (), None) == (["a", "b", "c"], [])


def test_a_named_patient_that_is_missing_is_refused() -> None:
    with pytest.raises(TrainingRefused, match="fold_0 names 'x'"):
        split(list("abc"), 2, ("a", "x"), 0)


@pytest.mark.parametrize("fold", [-1, 3])
def test_a_fold_that_does_not_exist_is_refused(fold: int) -> None:
    with pytest.raises(TrainingRefused, match=f"fold {fold} does not exist"):
        split(list("abcd"), 3, (), fold)


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(TrainingRefused, match="leaves 0 of 1 cases to learn from"):
        split(["a"], 2, (), 0)
