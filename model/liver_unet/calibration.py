"""What the signals of doubt mean: outlines of known error, as patients are and as they may be.

Each patient with a known liver is outlined as it is and under every change of perturbations.py.
From how the signals lie on good outlines and on wrong ones come the limits of the grades, and from
the grades the counts that a result quotes. Both travel with the weights, in their spec.
"""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import special
from tqdm import tqdm

from liver_unet.doubt import grade_of
from liver_unet.fallback import segment_or_fall_back, warm_segmenter
from liver_unet.grade import SIGNALS, Grade, measured_signals
from liver_unet.liver import Liver
from liver_unet.metrics import Agreement, agreement, dice, has_right_angles
from liver_unet.model_errors import TrainingRefused, WeightsRefused
from liver_unet.perturbations import DISEASES, PERTURBATIONS, Patient, perturbed
from liver_unet.segmenter import Segmenter
from liver_unet.stages import Stages
from liver_unet.training.cases import read_case
from liver_unet.training.layouts import CaseFiles, find_cases
from liver_unet.training.refusals import Refusals
from liver_unet.weights import SPEC_FILE, Calibration, write_spec
from liver_unet.whole_file import whole_file

# Of all outlines, where the risk-coverage curve is told.
_COVERAGES = (0.25, 0.5, 0.75, 0.9, 1.0)
UNCHANGED = "as it is"
OUTLINES = "outlines.csv"
# Wrong is what a physicist would send back.
_LEAST_DSC, _MOST_VOLUME_ERROR = 0.92, 0.10
# A case converted from DICOM is named by a UID, which is nothing to travel with weights.
_UID = re.compile(r"[0-9.]+")
# Of the good outlines, how many may be called worth a look, and how many doubtful.
_FALSE_ALARMS = (0.15, 0.05)


@dataclass(frozen=True)
class Outlined:
    """One outline of known error; a liver that was not found has a DSC of 0 and no signals.

    volume_ratio: the outline's volume by the true one. model: the networks' SHA-256. mda_mm: no
    number where the CT leans, too.
    """

    case: str
    change: str
    model: str
    dsc: float
    volume_ratio: float
    mda_mm: float
    unsure_share: float | None = None
    wrong_share: float | None = None
    disagreement: float | None = None

    @property
    def is_wrong(self) -> bool:
        return self.dsc < _LEAST_DSC or abs(self.volume_ratio - 1) > _MOST_VOLUME_ERROR

    @property
    def shares(self) -> dict[str, float]:
        """The signals that were measured, by name."""
        return measured_signals(self)


def calibrate(
    data: Path, weights: Path, out: Path, only: Sequence[str] = (), device: str = "auto"
) -> tuple[list[Outlined], Calibration]:
    """Outline every case of a folder under every change, and write the calibration into the spec.

    only: names of cases; none: all. What is in OUT/outlines.csv for these weights is not computed
    again. Raises ModelError.
    """
    segmenter = warm_segmenter(weights, device)
    if not os.access(weights / SPEC_FILE, os.W_OK) or not os.access(weights, os.W_OK):
        raise WeightsRefused(
            f"{weights} cannot be written, and its {SPEC_FILE} is to take the calibration: copy "
            "the folder, and calibrate the copy"
        )
    cases = _chosen(data, only)
    rows = list(_outlined(cases, segmenter, out / OUTLINES))
    names = sorted({row.case for row in rows})
    named = [name for name in names if not _UID.fullmatch(name)]
    told = f"{len(rows)} outlines of {len(names)} patients"
    rule = calibrated(rows, f"{told}: {', '.join(named)}" if named else told)
    write_spec(replace(segmenter.fine.spec, calibration=rule), weights)
    return rows, rule


def calibrated(rows: Sequence[Outlined], measured_on: str) -> Calibration:
    """The limits at which so many good outlines are called worth a look or doubtful, and what each
    grade meant."""
    seen = [row for row in rows if row.shares]
    good = [row for row in seen if not row.is_wrong]
    if not good:
        raise TrainingRefused(
            f"no outline is good enough to tell what good ones look like: of {len(rows)}, "
            f"{len(seen)} found a liver, none with a DSC of at least {_LEAST_DSC} and a volume "
            f"within {100 * _MOST_VOLUME_ERROR:.0f} % ({OUTLINES} tells each): these weights must "
            "learn more first"
        )
    look, doubtful = (_limits(good, share) for share in _FALSE_ALARMS)
    rule = Calibration({name: (look[name], doubtful[name]) for name in look}, {}, measured_on)
    grades = [grade_of(row.shares, rule) for row in seen]
    counts = {}
    for grade in Grade:
        of_it = [row for row, one in zip(seen, grades, strict=True) if one is grade]
        counts[grade.word] = (sum(row.is_wrong for row in of_it), len(of_it))
    return replace(rule, counts=counts)


def _limits(good: Sequence[Outlined], most: float) -> dict[str, float]:
    """For each signal the same quantile of the good ones, the lowest of which no more than `most`
    of them exceed any; to the four digits that a spec keeps."""
    names = [name for name in SIGNALS if all(name in row.shares for row in good)]
    values = np.array([[row.shares[name] for name in names] for row in good])
    for quantile in np.linspace(0.5, 1.0, 501):
        limits = (np.floor(np.quantile(values, quantile, axis=0) * 1e4) + 1) / 1e4
        if (values >= limits).any(axis=1).mean() <= most:
            break
    return dict(zip(names, limits.tolist(), strict=True))


def table(rows: Sequence[Outlined], rule: Calibration) -> str:
    """Accuracy under each change, how well each signal tells wrong outlines from good ones, and
    what the grades of a rule say."""
    lines = [" " * 23 + "  n    DSC lowest MDA mm    RV range       wrong"]
    for change in (UNCHANGED, *PERTURBATIONS):
        if found := [row for row in rows if row.change == change]:
            lines.append(f"{change:22} {_accuracy(found)}")
    seen = [row for row in rows if row.shares]
    wrong = np.array([row.is_wrong for row in seen])
    lines.append(f"{len(rows) - len(seen)} livers were not found")
    if wrong.any() and not wrong.all():
        for name in SIGNALS:
            if all(name in row.shares for row in seen):
                values = np.array([row.shares[name] for row in seen])
                error = 1 - np.array([row.dsc for row in seen])
                lines.append(
                    f"{name:22} AUROC {auroc(values, wrong):.3f} AURC {aurc(values, error):.4f} "
                    f"(best possible {aurc(error, error):.4f}), {risk_coverage(values, wrong)}"
                )
    return "\n".join([*lines, *_false_alarms(seen, rule), *_volumes(seen)])


def _false_alarms(seen: Sequence[Outlined], rule: Calibration) -> Iterator[str]:
    """Disease raises doubt, so these are told apart."""
    good = [row for row in seen if not row.is_wrong]
    for whose, is_ill in (("changed by disease", True), ("all others", False)):
        of_these = [row for row in good if (row.change in DISEASES) is is_ill]
        marked = sum(grade_of(row.shares, rule) is not Grade.SURE for row in of_these)
        yield f"good outlines marked all the same: {marked} of {len(of_these)} {whose}"


def _volumes(seen: Sequence[Outlined]) -> Iterator[str]:
    """How far the wrong share tells by how much a volume is off."""
    told = [row for row in seen if row.wrong_share is not None]
    if told:
        expected = np.array([row.wrong_share for row in told])
        error = np.array([row.volume_ratio - 1 for row in told])
        same = np.full(len(told), np.sqrt(np.mean(error**2)))
        yield (
            f"volumes expected to be off by {100 * expected.mean():.1f} % were by "
            f"{100 * np.abs(error).mean():.1f} %; CRPS {crps(error, expected):.4f}, with one "
            f"expectation for all {crps(error, same):.4f}"
        )


def _accuracy(rows: Sequence[Outlined]) -> str:
    dsc = np.array([row.dsc for row in rows])
    ratio = np.array([row.volume_ratio for row in rows])
    measured_mm = [row.mda_mm for row in rows if np.isfinite(row.mda_mm)]
    mda_mm = np.mean(measured_mm) if measured_mm else np.nan
    return (
        f"{len(rows):3} {dsc.mean():6.3f} {dsc.min():6.3f} {mda_mm:6.2f} {ratio.mean():5.3f} "
        f"{ratio.min():.3f}-{ratio.max():.3f} {sum(row.is_wrong for row in rows):5}"
    )


def auroc(values: np.ndarray, wrong: np.ndarray) -> float:
    """How often a wrong outline has the larger value than a good one; ties count half."""
    apart = values[wrong][:, None] - values[~wrong][None, :]
    return float(((apart > 0) + 0.5 * (apart == 0)).mean())


def crps(error: np.ndarray, deviation: np.ndarray) -> float:
    """The mean continuous ranked probability score of errors expected to be normal about 0.

    deviation: the standard deviation that was expected of each. The smaller, the better.
    """
    z = error / np.maximum(deviation, 1e-9)
    density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    score = z * special.erf(z / np.sqrt(2)) + 2 * density - 1 / np.sqrt(np.pi)
    return float((deviation * score).mean())


def aurc(values: np.ndarray, error: np.ndarray) -> float:
    """The mean error of those kept, averaged over how many are kept, the surest first."""
    order = np.argsort(values, kind="stable")
    return float((np.cumsum(error[order]) / np.arange(1, len(order) + 1)).mean())


def _chosen(data: Path, only: Sequence[str]) -> list[CaseFiles]:
    """Each once; all that cannot be read are refused before the first is outlined."""
    found = {files.name: files for files in find_cases(data)}
    if missing := [name for name in only if name not in found]:
        raise TrainingRefused(
            f"{data} holds no case {missing[0]!r}; it holds {', '.join(sorted(found))}"
        )
    cases = [found[name] for name in dict.fromkeys(only or sorted(found))]
    with Refusals() as refusals:
        for files in cases:
            refusals.but(read_case, files)
    return cases


def _outlined(cases: Sequence[CaseFiles], segmenter: Segmenter, path: Path) -> Iterator[Outlined]:
    stored = _read(path)
    others = [row for row in stored if row.model != segmenter.sha256]
    known = {(row.case, row.change): row for row in stored if row.model == segmenter.sha256}
    for files in tqdm(cases, unit="case", disable=None):
        name, case = files.name, read_case(files)
        for change in (UNCHANGED, *PERTURBATIONS):
            row = known.get((name, change))
            if row is None:
                row = _outline(Patient(case.ct, case.liver), name, change, segmenter)
                known[name, change] = row
                _write(path, [*others, *known.values()])
            if np.isfinite(row.dsc):
                yield row


def risk_coverage(values: np.ndarray, wrong: np.ndarray) -> str:
    """How many are wrong among the surest so many; ties count as they come."""
    kept = [max(1, round(share * len(values))) for share in _COVERAGES]
    among = wrong[np.argsort(values, kind="stable")]
    told = [f"{among[:n].sum()} of the surest {n}" for n in dict.fromkeys(kept)]
    return f"wrong: {', '.join(told)}"


def _outline(patient: Patient, case: str, change: str, segmenter: Segmenter) -> Outlined:
    model = segmenter.sha256
    try:
        shown = patient if change == UNCHANGED else perturbed(patient, change)
    except ValueError as error:
        sys.stderr.write(f"{case}, {change}: left out, as {error}\n")
        return Outlined(case, change, model, np.nan, np.nan, np.nan)
    liver = segment_or_fall_back(segmenter, shown.ct, Stages()).found
    if not isinstance(liver, Liver):
        return Outlined(case, change, model, 0.0, 0.0, np.nan)
    same = _agreement(liver.mask_on_ct(), shown)
    shares: Mapping[str, float] = liver.doubt.shares if liver.doubt else {}
    return Outlined(case, change, model, same.dsc, same.volume_ratio, same.mda_mm, **shares)


def _agreement(mask: NDArray[np.bool_], shown: Patient) -> Agreement:
    if has_right_angles(shown.ct.grid):
        return agreement(mask, shown.liver, shown.ct.grid)
    ratio = float(np.count_nonzero(mask) / np.count_nonzero(shown.liver))
    return Agreement(dice(mask, shown.liver), ratio, np.nan, np.nan, np.nan)


def _read(path: Path) -> list[Outlined]:
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                Outlined(row["case"], row["change"], row["model"], **_numbers(row))
                for row in csv.DictReader(file)
            ]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise TrainingRefused(
            f"{path} is no table of outlines that calibrate wrote ({type(error).__name__}: "
            f"{error}): delete it, or name another folder"
        ) from error


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    return {
        name: float(row[name])
        for name in ("dsc", "volume_ratio", "mda_mm", *SIGNALS)
        if row[name] != ""
    }


def _write(path: Path, rows: Iterable[Outlined]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Outlined)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
