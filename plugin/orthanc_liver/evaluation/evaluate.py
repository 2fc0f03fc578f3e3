"""orthanc-liver evaluate: the case list in, results, figures and report out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from liver_unet.claimed_folder import claimed
from liver_unet.segmenter import Segmenter
from orthanc_liver.evaluation.case_list import CaseListRefused, read_case_list
from orthanc_liver.evaluation.html_report import FILES, About, write_report
from orthanc_liver.evaluation.run import Network, measure_all

NETWORK = "network"


def evaluate(
    case_list: Path,
    out: Path,
    network: Network | None,
    jobs: int,
    other_name: str,
    roi: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Measure every case and write the report into OUT; return the results, failed ones included.

    network: None measures the list's column "other" alone. other_name: what that column holds.
    roi: what a reference is called where its line does not say it.
    Raises LiverError or ModelError where nothing can be measured at all.
    """
    if case_list.resolve() in [(out / name).resolve() for name in FILES]:
        raise CaseListRefused(f"{case_list} would be overwritten: name another folder for --out")
    cases = read_case_list(case_list, roi)
    without = [one.case for one in cases if one.other is None]
    if network is None and without:
        raise CaseListRefused(
            f"{case_list}: without the network every case needs other; {without[0]} has none"
        )
    segmenter = Segmenter.load(network.weights, "cpu") if network else None
    spec = segmenter.fine.spec if segmenter else None
    methods = {NETWORK: "network"} if network else {}
    if len(without) < len(cases):
        methods[other_name] = "other"
    with claimed(out):
        results = measure_all(cases, out, network, jobs, segmenter.sha256 if segmenter else "")
        write_report(cases, results, About(methods, spec), out)
    return results
