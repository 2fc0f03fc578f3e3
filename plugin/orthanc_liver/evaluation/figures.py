"""Figures as SVG: every case of every method in sight, never a mean alone."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from orthanc_liver.evaluation.statistics import bland_altman

# Readable in grey and by the colour-blind.
_STYLES = (("o", "#d1495b"), ("s", "#2e6f9e"), ("^", "#6b8f3a"))


def by_case(
    cases: Sequence[str],
    methods: Mapping[str, Sequence[float | None]],
    label: str,
    ideal: float | None = None,
) -> bytes:
    """Return one point per case and method; a missing value has none. ideal: a line."""
    figure = Figure(figsize=(max(5.0, 1.6 + 0.42 * len(cases)), 3.4), layout="constrained")
    axes = figure.subplots()
    if ideal is not None:
        axes.axhline(ideal, color="#888", linewidth=0.8)
    places = np.arange(len(cases))
    for (name, values), (marker, colour) in zip(methods.items(), _STYLES, strict=False):
        heights = [np.nan if value is None else value for value in values]
        axes.plot(places, heights, marker, color=colour, label=name, markersize=5)
    axes.set_xticks(places, list(cases), rotation=60, ha="right", fontsize=8)
    axes.set_ylabel(label)
    axes.grid(axis="y", linewidth=0.3)
    if len(methods) > 1:
        axes.legend(fontsize=8)
    return _svg(figure)


def bland_altman_plot(methods: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> bytes:
    """methods: name to (its volumes, the reference's) in mL; lines at bias and limits."""
    figure = Figure(figsize=(4.6 * len(methods), 3.4), layout="constrained")
    panels = figure.subplots(1, len(methods), squeeze=False, sharey=True)[0]
    for axes, (name, (values, reference)), (marker, colour) in zip(
        panels, methods.items(), _STYLES, strict=False
    ):
        found, true = np.asarray(values, dtype=float), np.asarray(reference, dtype=float)
        axes.plot((found + true) / 2, found - true, marker, color=colour, markersize=5)
        if len(found) > 1:
            agreed = bland_altman(found.tolist(), true.tolist())
            for height, style in ((agreed.bias, "-"), (agreed.lower, "--"), (agreed.upper, "--")):
                axes.axhline(height, color="#555", linewidth=0.9, linestyle=style)
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("mean of both volumes, mL")
        axes.set_ylabel("volume - reference, mL")
    return _svg(figure)


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
