"""What is said of many cases: spread, intervals, paired tests, limits of agreement; by scipy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

# All 2^n signs are tried up to here; above it the normal approximation is good enough.
_EXACT_PAIRS = 18
_RESAMPLES = 9999
_SEED = 1


@dataclass(frozen=True)
class Spread:
    """sd: the sample's (n - 1). interval: bootstrapped 95 % of the mean (BCa), None below three
    different values."""

    count: int
    mean: float
    sd: float
    low: float
    high: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class PairedTest:
    """Wilcoxon signed-rank, two-sided, of count pairs. exact: whether p is."""

    count: int
    p: float
    exact: bool

    @property
    def least_p(self) -> float:
        """No smaller p is possible with so few pairs, however they differ."""
        return min(1.0, float(2.0 ** (1 - self.count)))


@dataclass(frozen=True)
class BlandAltman:
    """Of differences (method - reference): mean, and mean -+ 1.96 sd."""

    bias: float
    lower: float
    upper: float


def spread(values: Sequence[float]) -> Spread:
    """Describe at least one value."""
    array = np.asarray(values, dtype=float)
    sd = float(array.std(ddof=1)) if len(array) > 1 else 0.0
    return Spread(
        len(array),
        float(array.mean()),
        sd,
        float(array.min()),
        float(array.max()),
        _interval(array),
    )


def _interval(array: np.ndarray) -> tuple[float, float] | None:
    if len(np.unique(array)) < 3:
        return None
    found = stats.bootstrap(
        (array,), np.mean, n_resamples=_RESAMPLES, method="BCa", rng=np.random.default_rng(_SEED)
    ).confidence_interval
    return float(found.low), float(found.high)


def wilcoxon(one: Sequence[float], other: Sequence[float]) -> PairedTest:
    """Compare two methods on the same cases, in the same order.

    Exact also with ties and equal pairs: then every sign of the ranked differences is tried.
    """
    differences = np.asarray(one, dtype=float) - np.asarray(other, dtype=float)
    count = len(differences)
    if not differences.any():
        return PairedTest(count, 1.0, exact=True)
    sizes = np.abs(differences)
    if count > _EXACT_PAIRS:
        return PairedTest(count, float(stats.wilcoxon(differences).pvalue), exact=False)
    if len(np.unique(sizes)) == count and sizes.all():
        p = stats.wilcoxon(differences, method="exact").pvalue
    else:
        every_sign = stats.PermutationMethod(n_resamples=2**count + 1)
        p = stats.wilcoxon(differences, method=every_sign).pvalue
    return PairedTest(count, float(p), exact=True)


def bland_altman(values: Sequence[float], reference: Sequence[float]) -> BlandAltman:
    """Limits of agreement of at least two pairs."""
    differences = np.asarray(values, dtype=float) - np.asarray(reference, dtype=float)
    bias, reach = float(differences.mean()), 1.96 * float(differences.std(ddof=1))
    return BlandAltman(bias, bias - reach, bias + reach)
