"""make against-atlas: the study's comparison on the training patients that the weights never saw.

Atlas by leave-one-out on all patients, network on those alone that its training kept for
validation. Prints the tables of model/README.md. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

from liver_unet.atlas.leave_one_out import leave_one_out
from liver_unet.atlas.library import build_library
from liver_unet.nifti import read_nifti
from orthanc_liver.evaluation.evaluate import evaluate
from orthanc_liver.evaluation.run import Network
from tests.support.real_data import DEVELOPMENT_WEIGHTS, UNSEEN

_SIZE = "height and weight assumed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder train of the real CT")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=DEVELOPMENT_WEIGHTS)
    options = parser.parse_args()
    data, out = options.data.resolve(), options.out.resolve()
    build_library(data, out / "library")
    leave_one_out(data, out / "library", out / "masks")
    patients = sorted(path.parent.name for path in data.glob("*/ct.nii.gz"))
    for name, cases, network in (
        ("unseen", list(UNSEEN), Network(options.weights, "auto")),
        ("all", patients, None),
    ):
        listed = _case_list(data, out, name, cases)
        evaluate(listed, out / name, network, 1, "atlas")
        sys.stdout.write(f"\n{name}: {len(cases)} patients\n\n{_markdown(out / name)}\n")


def _case_list(data: Path, out: Path, name: str, patients: list[str]) -> Path:
    path = out / f"{name}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        head = ["case", "ct", "reference", "other", "tumour_ml", "height_m", "weight_kg", "origin"]
        writer.writerow(head)
        for patient in patients:
            folder = data / patient
            tumour_ml, origin = _tumour(folder / "tumour.nii.gz")
            files = [folder / "ct.nii.gz", folder / "liver.nii.gz", out / f"masks/{patient}.nii.gz"]
            writer.writerow([patient, *files, tumour_ml, 1.75, 70, f"{_SIZE}; {origin}"])
    return path


def _tumour(path: Path) -> tuple[float, str]:
    if not path.exists():
        return 100.0, "tumour of 100 mL assumed, none is outlined"
    mask, grid = read_nifti(path)
    return round(float(np.count_nonzero(mask)) * grid.voxel_ml, 1), "tumour as outlined"


def _markdown(folder: Path) -> str:
    """table.csv, then results.csv as far as DSC and MDA go."""
    lines = []
    with (folder / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    lines += [" | ".join(["", *row, ""]).strip() for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            shown = [f"{key} {float(row[key]):.3f}" for key in row if _is_shown(key) and row[key]]
            lines.append(f"{row['case']}: {row['reason'] or ', '.join(shown)}")
    return "\n".join(lines)


def _is_shown(key: str) -> bool:
    return key.endswith(("_dsc", "_mda_mm", "_rv"))


if __name__ == "__main__":
    main()
