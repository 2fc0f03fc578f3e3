"""What constancy does: outlines kept at acceptance, made again, and compared.

In the folder of the record: acceptance.json, the accepted outlines in acceptance/, the made-up
patient where no other CT were named, and a folder for each check with its page.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liver_unet.ct_nifti import MINIMUM_SLICES
from liver_unet.gpu import name_and_driver
from liver_unet.metrics import dice
from liver_unet.model_errors import ModelError
from liver_unet.nifti import read_nifti, write_nifti
from liver_unet.phantom import abdomen
from liver_unet.segmenter import Segmenter
from liver_unet.whole_file import whole_file
from orthanc_liver import __version__
from orthanc_liver.cli.constancy_page import page_of
from orthanc_liver.cli.outlining import OneCt, Outlining
from orthanc_liver.cli.outlining_many import check_places, studies_in
from orthanc_liver.cli.progress import TerminalProgress
from orthanc_liver.cli.result_folder import MASK, ResultFolder
from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.evaluation.run import content_of
from orthanc_liver.liver_errors import LiverError

RECORD, PAGE = "acceptance.json", "constancy.html"
_ACCEPTED, _PHANTOM = "acceptance", "phantom.nii.gz"
_LIBRARIES = ("torch", "openvino", "numpy", "scipy", "pydicom")


class NoConstancy(LiverError):
    """There is nothing to compare with, or no record can be made."""


@dataclass(frozen=True)
class Limits:
    """How far an outline may be from the accepted one."""

    volume_percent: float
    dsc: float


@dataclass(frozen=True)
class Compared:
    """One CT then and now. fault: what is beyond the limits, empty where nothing is."""

    case: str
    then: Mapping[str, Any]
    now: Mapping[str, Any]
    percent: float | None
    dsc: float | None
    fault: str

    @property
    def words(self) -> str:
        """For one line."""
        if self.percent is None or self.dsc is None:
            return self.fault or f"{self.now['outcome']}, as at acceptance"
        figures = f"{self.percent:+.3f} % of volume, DSC {self.dsc:.5f}, {self.times_as_long}"
        return f"{self.fault} ({figures})" if self.fault else f"the same: {figures}"

    @property
    def times_as_long(self) -> str:
        """Against the time at acceptance."""
        return f"{self.now['seconds'] / max(self.then['seconds'], 1e-3):.2f} times as long"


def accept(record: Path, cases: Path | None, segmenter: Segmenter) -> Iterator[str]:
    """Write the record of acceptance; yields a line for each CT. NoConstancy where one stands
    already, or where a CT is refused: then there is none."""
    if (record / RECORD).exists():
        raise NoConstancy(f"{record} holds a record of acceptance: name another folder")
    if cases:
        check_places(cases, record)
    studies = studies_in(cases, MINIMUM_SLICES) if cases else _made_up(record)
    found: dict[str, dict[str, Any]] = {}
    with TerminalProgress(len(studies)) as progress:
        for name, ct in studies.items():
            report = _outlined(ct, record / _ACCEPTED / name, segmenter, progress)
            if "reason" in report:
                raise NoConstancy(f"{name} cannot be outlined: {report['reason']}")
            where = {"ct": str(ct.path.resolve()), "series": ct.series, "content": _content(ct)}
            found[name] = where | _told(report)
            yield f"{name}: {found[name]['outcome']}, {found[name]['liver_ml']} mL"
    content = {"made": _now(), "installation": installation(segmenter), "cases": found}
    _write(record / RECORD, json.dumps(content, indent=2) + "\n")
    yield str(record / RECORD)


def check(record: Path, segmenter: Segmenter, limits: Limits) -> tuple[Path, list[Compared]]:
    """Outline again what was accepted; return the page to sign, and what was found."""
    accepted = _read(record / RECORD)
    folder = record / _now().replace(":", "")
    compared = []
    with TerminalProgress(len(accepted["cases"])) as progress:
        for name, then in accepted["cases"].items():
            ct = OneCt(Path(then["ct"]), then["series"], MINIMUM_SLICES)
            now = _told(_outlined(ct, folder / name, segmenter, progress))
            masks = (record / _ACCEPTED / name / MASK, folder / name / MASK)
            is_same_ct = _content(ct) == then["content"]
            compared.append(_compared(name, then, now, masks, limits, is_same_ct=is_same_ct))
    about = {"then": accepted["installation"], "now": installation(segmenter)}
    page = folder / PAGE
    _write(page, page_of(accepted["made"], _now(), about, compared, limits))
    return page, compared


def installation(segmenter: Segmenter) -> dict[str, str]:
    """What may make an outline another one."""
    fine, coarse = segmenter.fine, segmenter.coarse
    return {
        "orthanc-liver": __version__,
        "network": f"{fine.spec.name} {fine.spec.sha256}",
        "coarse network": f"{coarse.spec.name} {coarse.spec.sha256}" if coarse else "none",
        "device": str(segmenter.device),
        "GPU": name_and_driver(segmenter.device),
        "runtime": f"{fine.runtime}, {str(fine.precision).removeprefix('torch.')}",
        "Python": platform.python_version(),
        **{name: _version(name) for name in _LIBRARIES},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"


def _compared(
    case: str,
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    masks: tuple[Path, Path],
    limits: Limits,
    *,
    is_same_ct: bool,
) -> Compared:
    if "reason" in now:
        return Compared(case, then, now, None, None, f"{now['outcome']}: {now['reason']}")
    if not is_same_ct:
        return Compared(case, then, now, None, None, "the CT is not the one that was accepted")
    if now["outcome"] != then["outcome"]:
        fault = f"{now['outcome']}, and at acceptance {then['outcome']}"
        return Compared(case, then, now, None, None, fault)
    if now["outcome"] != Outcome.SEGMENTED:
        return Compared(case, then, now, None, None, "")
    percent = 100 * (now["liver_ml"] / then["liver_ml"] - 1)
    accepted, made = (_mask(path) for path in masks)
    dsc = dice(accepted, made)
    faults = []
    if abs(percent) > limits.volume_percent:
        faults.append(f"the volume differs by more than {limits.volume_percent:g} %")
    if dsc < limits.dsc:
        faults.append(f"the DSC is below {limits.dsc:g}")
    return Compared(case, then, now, percent, dsc, " and ".join(faults))


def _made_up(record: Path) -> dict[str, OneCt]:
    record.mkdir(parents=True, exist_ok=True)
    path, drawn = record / _PHANTOM, abdomen().volume
    write_nifti(path, drawn.hu.astype(np.int16), drawn.grid)
    return {"phantom": OneCt(path, "", MINIMUM_SLICES)}


def _outlined(
    ct: OneCt, folder: Path, segmenter: Segmenter, progress: TerminalProgress
) -> dict[str, Any]:
    """The report; of what is refused or fails, with the reason."""
    try:
        return Outlining(lambda: segmenter, progress.show).outline(
            ct, ResultFolder(folder, ct.path)
        )
    except (LiverError, ModelError) as error:
        return {"outcome": Outcome.REFUSED, "liver_ml": None, "reason": str(error)}
    finally:
        progress.next()


def _told(report: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a report: seconds, those of all stages together."""
    some = {name: report[name] for name in ("outcome", "liver_ml", "reason") if name in report}
    return some | {"seconds": round(sum(report.get("seconds", {}).values()), 3)}


def _content(ct: OneCt) -> str:
    """Another one when any file of the CT has changed, wherever they lie."""
    return hashlib.sha256(json.dumps(content_of(ct.path)).encode()).hexdigest()


def _mask(path: Path) -> NDArray[np.bool_]:
    values, _ = read_nifti(path)
    return np.asarray(values > 0)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise NoConstancy(f"{path} is not there: make the record with --accept") from None
    except ValueError:
        raise NoConstancy(f"{path} is not a record of acceptance") from None
    if not isinstance(content, dict) or not {"made", "installation", "cases"} <= set(content):
        raise NoConstancy(f"{path} is not a record of acceptance")
    return content


def _write(path: Path, text: str) -> None:
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
