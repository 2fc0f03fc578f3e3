"""Every patient is validated on exactly once, whatever the data; volumes of one stay together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liver_unet.model_errors import TrainingRefused
from liver_unet.training.config import load_config
from liver_unet.training.patients import deal, patient_of, split

NAMES = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=2, max_size=20, unique=True)


@given(names=NAMES, folds=st.integers(2, 6), named=st.integers(0, 4), together=st.integers(0, 3))
def test_folds_part_the_patients(names: list[str], folds: int, named: int, together: int) -> None:
    development = sorted(names)[:named]
    same = [names[:together]]
    groups = deal(names, folds, development, same)
    assert len(groups) == folds
    assert sorted(name for group in groups for name in group) == sorted(names)
    assert set(groups[0]) >= set(development)
    assert deal(names[::-1], folds, development, same) == groups
    assert sum(bool(set(same[0]) & set(group)) for group in groups) == bool(together)


def test_the_development_patients_of_the_recipes() -> None:
    for name in ("fine", "coarse"):
        config = load_config(name)
        assert len(config.development) == 9
        others = [f"case_{n:02}" for n in range(11)]
        groups = deal([*others, *config.development], config.folds, config.development)
        learn, judge = split(groups, 0)
        assert learn == others
        assert judge == sorted(config.development)


def test_volumes_of_one_patient_are_dealt_together() -> None:
    config = load_config("fine")
    for pair in (["lits_000", "lits_001"], ["psma_689", "psma_690"]):
        assert len({patient_of(name, config.same_patient) for name in pair}) == 1
    names = ["lits_000", "lits_001", "lits_003", "lits_004"]
    groups = deal(names, 2, (), config.same_patient)
    assert groups == [["lits_000", "lits_001", "lits_004"], ["lits_003"]]
    assert deal(names, 2, ("lits_001",), config.same_patient)[0] == ["lits_000", "lits_001"]


def test_other_data_is_dealt_by_name() -> None:
    assert split(deal(list("dcba"), 2, ("elsewhere",)), 1) == (["a", "c"], ["b", "d"])


def test_no_fold_learns_from_all() -> None:
    assert split([["a", "c"], ["b"]], None) == (["a", "b", "c"], [])


def test_a_named_patient_that_is_missing_is_refused() -> None:
    with pytest.raises(TrainingRefused, match="development names 'x'"):
        deal(list("abc"), 2, ("a", "x"))


@pytest.mark.parametrize("fold", [-1, 3])
def test_a_fold_that_does_not_exist_is_refused(fold: int) -> None:
    with pytest.raises(TrainingRefused, match=f"fold {fold} does not exist"):
        split(deal(list("abcd"), 3, ()), fold)


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(TrainingRefused, match="leaves 0 of 1 cases to learn from"):
        split(deal(["a"], 2, ()), 0)
