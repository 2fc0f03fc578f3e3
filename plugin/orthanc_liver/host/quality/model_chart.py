"""Each model's control chart, of the comparisons that there are and the limits that were set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from orthanc_liver.host.quality.chart import Limits, Point, Rule, chart, limits_of
from orthanc_liver.host.quality.comparison import Comparison, ModelLimits, cases_of


@dataclass(frozen=True)
class ModelChart:
    """cases: the oldest first; limits: None as long as there are too few; points: of the cases that
    came after the limits were set, which are the last ones."""

    model_name: str
    model_sha256: str
    cases: tuple[Comparison, ...]
    limits: Limits | None
    points: tuple[Point, ...]

    @property
    def is_shadow(self) -> bool:
        """Whether it is the second model's, as far as the newest case tells."""
        return not self.cases or self.cases[-1].is_shadow

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What the newest case breaks."""
        return self.points[-1].rules if self.points else ()

    def told(self) -> list[tuple[Comparison, Point | None]]:
        """Each case, with its point where it has one."""
        before = len(self.cases) - len(self.points)
        return list(zip(self.cases, [*([None] * before), *self.points], strict=True))

    def summary(self) -> dict[str, Any]:
        """What the status and the page's head tell."""
        limits = self.limits
        return {
            "Model": self.model_name,
            "Sha256": self.model_sha256,
            "IsShadow": self.is_shadow,
            "Cases": len(self.cases),
            "FirstCases": limits and limits.cases,
            "MeanDsc": limits and round(limits.mean_dsc, 4),
            "BeyondDsc": limits and round(limits.beyond_dsc, 4),
            "SlowLimitDsc": limits and round(limits.slow_dsc, 4),
            "SlowDsc": round(self.points[-1].slow_dsc, 4) if self.points else None,
            "Rules": list(self.rules),
        }


def agreement_of_models(comparisons: Iterable[Comparison]) -> dict[str, Any] | None:
    """How a second model's outlines agree with the first's; None where it has none."""
    found = [one.agreement for one in comparisons if one.agreement]
    if not found:
        return None
    return {
        "Outlines": len(found),
        "MeanDsc": round(fmean(one.dsc for one in found), 4),
        "LowestDsc": round(min(one.dsc for one in found), 4),
        "MeanRv": round(fmean(one.rv for one in found), 4),
    }


def charts_of(
    comparisons: Iterable[Comparison], limits: Mapping[str, ModelLimits]
) -> list[ModelChart]:
    """One for each model, the one whose last case is the newest last."""
    by_model: dict[str, list[Comparison]] = {}
    for one in cases_of(comparisons):
        by_model.setdefault(one.model_sha256, []).append(one)
    charts = [_chart(cases, limits.get(sha256)) for sha256, cases in by_model.items()]
    return sorted(charts, key=lambda one: one.cases[-1].time)


def limits_now(one: ModelChart, first_cases: int) -> ModelLimits | None:
    """The limits that are to be set, None where those that are set stay, or cases are too few."""
    is_set = one.limits is not None and one.limits.cases == first_cases
    if is_set or len(one.cases) < first_cases:
        return None
    first = one.cases[:first_cases]
    return ModelLimits(one.model_sha256, limits_of(_dsc(first)), first[-1].time)


def _chart(cases: list[Comparison], limits: ModelLimits | None) -> ModelChart:
    after = [one for one in cases if limits and one.time > limits.until]
    points = chart(_dsc(after), limits.limits) if limits else []
    last = cases[-1]
    return ModelChart(
        last.model_name,
        last.model_sha256,
        tuple(cases),
        limits.limits if limits else None,
        tuple(points),
    )


def _dsc(cases: Iterable[Comparison]) -> list[float]:
    return [one.agreement.dsc for one in cases if one.agreement]
