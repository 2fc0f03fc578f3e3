"""Which volumes are of one patient, which a training learns from and which it is judged on."""

from __future__ import annotations

from collections.abc import Sequence

from liver_unet.model_errors import TrainingRefused

Groups = Sequence[Sequence[str]]


def patient_of(name: str, same_patient: Groups) -> str:
    """The first name of the group that holds this one; without a group its own."""
    return next((min(group) for group in same_patient if name in group), name)


def deal(
    names: Sequence[str], folds: int, development: Sequence[str], same_patient: Groups = ()
) -> list[list[str]]:
    """Return the validation cases of each fold; every patient is in exactly one.

    Sorted by name, patients are dealt round the folds one by one. Where development names cases,
    their patients are the first fold, and the others are dealt round the remaining ones. Data that
    holds none of the named cases is other data: then the plain rule holds.
    """
    by_patient: dict[str, list[str]] = {}
    for name in sorted(names):
        by_patient.setdefault(patient_of(name, same_patient), []).append(name)
    if not set(names) & set(development):
        return [_together(by_patient, list(by_patient)[fold::folds]) for fold in range(folds)]
    if missing := sorted(set(development) - set(names)):
        raise TrainingRefused(
            f"development names {missing[0]!r}, which the data does not hold, beside cases it "
            "does: add the case to the data, or take it out of the recipe's development"
        )
    named = {patient_of(name, same_patient) for name in development}
    others = [patient for patient in by_patient if patient not in named]
    dealt = [others[fold :: folds - 1] for fold in range(folds - 1)]
    return [
        _together(by_patient, group) for group in ([p for p in by_patient if p in named], *dealt)
    ]


def _together(by_patient: dict[str, list[str]], patients: Sequence[str]) -> list[str]:
    return sorted(name for patient in patients for name in by_patient[patient])


def split(groups: Sequence[Sequence[str]], fold: int | None) -> tuple[list[str], list[str]]:
    """Return (learn, validate) for one fold; fold None learns from all and validates on none."""
    names = [name for group in groups for name in group]
    if fold is None:
        return sorted(names), []
    if not 0 <= fold < len(groups):
        last = len(groups) - 1
        raise TrainingRefused(f"fold {fold} does not exist: this recipe has folds 0 to {last}")
    validate = list(groups[fold])
    learn = sorted(set(names) - set(validate))
    if not validate or not learn:
        raise TrainingRefused(
            f"fold {fold} of {len(groups)} leaves {len(learn)} of {len(names)} cases to learn from "
            f"and {len(validate)} to validate on: both need at least one"
        )
    return learn, validate
