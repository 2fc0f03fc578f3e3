"""What is written of an evaluation: results.csv, table.csv, figures and one HTML file with all."""

from __future__ import annotations

import base64
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import jinja2

from liver_unet.weights import ModelSpec
from orthanc_liver import __version__
from orthanc_liver.evaluation import figures
from orthanc_liver.evaluation.case_list import ListedCase
from orthanc_liver.evaluation.glass import GLASS_DOSE_GY
from orthanc_liver.evaluation.measure import Measured
from orthanc_liver.evaluation.statistics import Spread, bland_altman, spread, wilcoxon

Methods = dict[str, str]


# Which outline of a file was taken.
_CHOSEN = ("reference_outline", "other_outline")
FILES = ("results.csv", "table.csv", "report.html")


@dataclass(frozen=True)
class Metric:
    """A row of the table. study: what the published study found, network and atlas."""

    field: str
    title: str
    digits: int
    study: tuple[str, str] = ("", "")


METRICS = (
    Metric("dsc", "DSC", 3, ("0.94 ± 0.01 (0.91-0.96)", "0.83 ± 0.10 (0.51-0.94)")),
    Metric("mda_mm", "MDA, mm", 2, ("1.8 ± 0.4 (1.0-2.7)", "7.1 ± 5.1 (1.2-25.3)")),
    Metric("hd95_mm", "HD95, mm", 1),
    Metric("surface_dice_2mm", "surface Dice at 2 mm", 3),
    Metric("rv", "RV", 3, ("0.99 ± 0.03 (0.94-1.05)", "")),
    Metric("difference_ml", "volume difference, mL", 0),
    Metric("difference_percent", "volume difference, %", 1),
    Metric("ra_resin", "RA, resin by BSA", 4, ("1.00 ± 0.00 (0.99-1.01)", "")),
    Metric("difference_resin_mbq", "activity difference, resin, MBq", 1),
    Metric("ra_glass", "RA, glass", 3),
    Metric("difference_glass_mbq", "activity difference, glass, MBq", 0),
)
STUDY_P = {"dsc": "< .01", "mda_mm": "< .01"}


@dataclass(frozen=True)
class About:
    """What the report says of itself. methods: by name, where in a result each is. model: None
    where no network was asked."""

    methods: Methods
    model: ModelSpec | None


@dataclass(frozen=True)
class TableRow:
    """One metric over count measured cases, method by method, in words."""

    title: str
    count: int
    cells: tuple[str, ...]
    intervals: tuple[str, ...]
    p: str
    study: tuple[str, str]
    study_p: str


Results = Sequence[Mapping[str, Any]]


def write_report(
    cases: Sequence[ListedCase], results: Results, about: About, out: Path
) -> list[TableRow]:
    """Write everything into OUT; results: as measure_all returns them. Returns the table."""
    measured = [one for one in results if "reason" not in one]
    learnt = {one.case for one in cases if one.is_learnt}
    rows = table(measured, about.methods)
    if learnt & {one["case"] for one in measured}:
        unseen = [one for one in measured if one["case"] not in learnt]
        rows += [
            replace(one, title=f"{one.title}, without cases learnt from")
            for one in table(unseen, about.methods)
        ]
    _write_cases(cases, results, about.methods, out / "results.csv")
    _write_table(rows, about.methods, out / "table.csv")
    pictures = _figures(measured, about.methods) if measured else {}
    (out / "figures").mkdir(exist_ok=True)
    for name, svg in pictures.items():
        (out / "figures" / f"{name}.svg").write_bytes(svg)
    html = _template().render(
        about=about,
        version=__version__,
        rows=rows,
        patients=_patients(measured),
        limits=_limits(measured, about.methods),
        results=results,
        cases=cases,
        metrics=METRICS,
        figures={name: _data_uri(svg, "svg+xml") for name, svg in pictures.items()},
        overlays=_overlays(measured, about.methods, out),
        count=len(measured),
        learnt=learnt,
        glass_dose_gy=GLASS_DOSE_GY,
        number=_number,
    )
    (out / "report.html").write_text(html, encoding="utf-8")
    return rows


def table(measured: Results, methods: Methods) -> list[TableRow]:
    """Compare on the cases that every method has, each metric on those that have it.

    Where a method missed a liver altogether, what that changes is given without such cases too.
    """
    keys = tuple(methods.values())
    paired = [one for one in measured if all(one[key] for key in keys)]
    found = [one for one in paired if all(one[key]["liver_ml"] for key in keys)]
    rows = [_row(metric, paired, keys) for metric in METRICS]
    without = [_row(metric, found, keys) for metric in METRICS]
    return rows + [
        replace(one, title=f"{one.title}, without livers missed")
        for one, whole in zip(without, rows, strict=True)
        if one.count < whole.count
    ]


def _row(metric: Metric, paired: Results, keys: tuple[str, ...]) -> TableRow:
    columns = [[one[key][metric.field] for one in paired] for key in keys]
    complete = [row for row in zip(*columns, strict=True) if None not in row]
    values = [list(column) for column in zip(*complete, strict=True)]
    spreads = [spread(column) for column in values]
    p = ""
    if len(values) == 2:
        test = wilcoxon(*values)
        how = "exact" if test.exact else "approximate"
        p = f"{test.p:.2g} ({how}, n = {test.count}, at best {test.least_p:.2g})"
    return TableRow(
        metric.title,
        len(complete),
        tuple(_said(one, metric.digits) for one in spreads) or ("",) * len(keys),
        tuple(_interval_said(one, metric.digits) for one in spreads) or ("",) * len(keys),
        p,
        metric.study,
        STUDY_P.get(metric.field, ""),
    )


def _said(one: Spread, digits: int) -> str:
    mean, sd, low, high = (_number(v, digits) for v in (one.mean, one.sd, one.low, one.high))
    between = " to " if one.low < 0 else "-"
    return f"{mean} ± {sd} ({low}{between}{high})"


def _interval_said(one: Spread, digits: int) -> str:
    if one.interval is None:
        return ""
    low, high = (_number(v, digits) for v in one.interval)
    return f"{low} to {high}"


def _patients(measured: Results) -> list[str]:
    """Whom the cases are of, in a sentence per quantity."""
    ages = [one["age_years"] for one in measured if one["age_years"] is not None]
    volumes = [one["reference_ml"] for one in measured]
    return [
        f"{what}: {_said(spread(values), 0)}, n = {len(values)}"
        for what, values in (("age, years", ages), ("liver volume by the reference, mL", volumes))
        if values
    ]


def _limits(measured: Results, methods: Methods) -> list[str]:
    """Bland-Altman of the volumes in a sentence per method."""
    said = []
    for name, key in methods.items():
        of_method = [one for one in measured if one[key]]
        if len(of_method) > 1:
            agreed = bland_altman(*_volumes(of_method, key))
            said.append(
                f"{name}: bias {agreed.bias:.0f} mL, 95 % limits of agreement "
                f"{agreed.lower:.0f} to {agreed.upper:.0f} mL (n = {len(of_method)})"
            )
    return said


def _volumes(measured: Results, key: str) -> tuple[list[float], list[float]]:
    return [one[key]["liver_ml"] for one in measured], [one["reference_ml"] for one in measured]


def _figures(measured: Results, methods: Methods) -> dict[str, bytes]:
    names = [str(one["case"]) for one in measured]

    def drawn(field: str, label: str, ideal: float | None = None) -> bytes:
        values = {
            name: [one[key][field] if one[key] else None for one in measured]
            for name, key in methods.items()
        }
        return figures.by_case(names, values, label, ideal)

    volumes = {
        name: _volumes(having, key)
        for name, key in methods.items()
        if (having := [one for one in measured if one[key]])
    }
    found = {
        "dsc": drawn("dsc", "DSC"),
        "mda": drawn("mda_mm", "MDA, mm"),
        "rv": drawn("rv", "RV", 1.0),
        "bland_altman": figures.bland_altman_plot(volumes),
        "ra_glass": drawn("ra_glass", "RA, glass", 1.0),
    }
    if any(one[key] and one[key]["ra_resin"] for one in measured for key in methods.values()):
        found["ra_resin"] = drawn("ra_resin", "RA, resin by BSA", 1.0)
    return found


def _overlays(measured: Results, methods: Methods, out: Path) -> list[tuple[str, str]]:
    """The first method's best and worst case, by DSC, as (caption, picture)."""
    name, key = next(iter(methods.items()))
    in_order = sorted((o for o in measured if o[key]), key=lambda one: float(one[key]["dsc"]))
    if not in_order:
        return []
    chosen = {"best": in_order[-1], "worst": in_order[0]}
    return [
        (
            f"{which} case by {name}'s DSC: {one['case']}, {one[key]['dsc']:.3f}",
            _data_uri((out / "cases" / one["case"] / "overlay.png").read_bytes(), "png"),
        )
        for which, one in chosen.items()
    ]


def _write_cases(
    cases: Sequence[ListedCase], results: Results, methods: Methods, path: Path
) -> None:
    names = [one.name for one in fields(Measured)]
    patient = ("tumour_ml", "height_m", "weight_kg", "origin", "is_learnt")
    head = ["case", "state", "reason", *patient, "reference_ml", "warnings"]
    head += [f"{method}_{name}" for method in methods for name in names]
    head += _CHOSEN
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for case, result in zip(cases, results, strict=True):
            state = "failed" if "reason" in result else "measured"
            row = [case.case, state, result.get("reason", "")]
            row += [_blank_for_none(getattr(case, name)) for name in patient]
            row += [result.get("reference_ml", ""), "; ".join(result.get("warnings", []))]
            for key in methods.values():
                of_method = result.get(key) or {}
                row += [_blank_for_none(of_method.get(name)) for name in names]
            row += [result.get(name, "") for name in _CHOSEN]
            writer.writerow(row)


def _blank_for_none(value: Any) -> Any:
    return "" if value is None else value


def _write_table(rows: Sequence[TableRow], methods: Methods, path: Path) -> None:
    head = ["metric", "n"]
    head += [part for m in methods for part in (f"{m}: mean ± SD (range)", f"{m}: 95 % interval")]
    head += ["P", "study: network", "study: atlas", "study: P"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        for row in rows:
            ours = [p for pair in zip(row.cells, row.intervals, strict=True) for p in pair]
            writer.writerow([row.title, row.count, *ours, row.p, *row.study, row.study_p])


def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("orthanc_liver.evaluation", ".")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("report.html")


def _number(value: float | None, digits: int) -> str:
    # no minus zero
    return "" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
