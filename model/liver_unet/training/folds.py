"""Which patients a training learns from and which it is judged on."""

from __future__ import annotations

from collections.abc import Sequence

from liver_unet.model_errors import TrainingRefused


def deal(names: Sequence[str], folds: int, fold_0: Sequence[str]) -> list[list[str]]:
    """Return the validation patients of each fold; every patient is in exactly one.

    Sorted by name, patients are dealt round the folds one by one. Where fold_0 names patients,
    they are the first fold, and the others are dealt round the remaining ones. Data that holds
    none of the named patients is other data: then the plain rule holds.
    """
    order = sorted(names)
    named = [name for name in order if name in fold_0]
    if not named:
        return [order[fold::folds] for fold in range(folds)]
    if missing := sorted(set(fold_0) - set(named)):
        raise TrainingRefused(
            f"fold_0 names {missing[0]!r}, which the data does not hold, beside patients it does"
        )
    others = [name for name in order if name not in fold_0]
    return [named, *(others[fold :: folds - 1] for fold in range(folds - 1))]


def split(
    names: Sequence[str], folds: int, fold_0: Sequence[str], fold: int | None
) -> tuple[list[str], list[str]]:
    """Return (learn, validate) for one fold; fold None learns from all and validates on none."""
    if fold is None:
        return sorted(names), []
    if not 0 <= fold < folds:
        raise TrainingRefused(f"fold {fold} does not exist: this recipe has folds 0 to {folds - 1}")
    validate = deal(names, folds, fold_0)[fold]
    learn = sorted(set(names) - set(validate))
    if not validate or not learn:
        raise TrainingRefused(
            f"fold {fold} of {folds} leaves {len(learn)} of {len(names)} cases to learn from and "
            f"{len(validate)} to validate on: both need at least one"
        )
    return learn, validate
