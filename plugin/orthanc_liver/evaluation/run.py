"""All cases of a list: in processes, resumed where they stopped, none lost to another's failure."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from liver_unet.fallback import warm_segmenter
from liver_unet.model_errors import ModelError
from liver_unet.segmenter import Segmenter
from liver_unet.whole_file import whole_file
from orthanc_liver import __version__
from orthanc_liver.dicom.ct_folder import files_below
from orthanc_liver.engine.cores import usable_cores
from orthanc_liver.evaluation.case_list import ListedCase
from orthanc_liver.evaluation.measure import measure_case
from orthanc_liver.liver_errors import LiverError

_PATHS = ("ct", "reference", "other")
_CRASHED = "the process that measured it ended unexpectedly (out of memory?)"


@dataclass(frozen=True)
class Network:
    """What outlines the cases, and where."""

    weights: Path
    device: str


def measure_all(
    cases: Sequence[ListedCase], out: Path, network: Network | None, jobs: int, model_sha256: str
) -> list[dict[str, Any]]:
    """Return a result per case in the list's order, and keep each in OUT/cases/NAME.

    A result that was kept for files and weights of the same content is taken as it is. A failed
    case is {"case", "reason"}, and is tried again next time.
    """
    known: dict[str, dict[str, Any]] = {}
    keys = {one.case: _key(one, model_sha256) for one in cases}
    for one in cases:
        kept = _kept(_result_path(out, one))
        if kept is not None and kept["key"] == keys[one.case] and "reason" not in kept:
            known[one.case] = kept
    unknown = [one for one in cases if one.case not in known]
    with tqdm(total=len(cases), initial=len(known), unit="case", disable=None) as bar:
        for one, result in _measured(unknown, out, network, jobs):
            known[one.case] = {"case": one.case, "key": keys[one.case], **result}
            _keep(_result_path(out, one), known[one.case])
            bar.update()
    return [known[one.case] for one in cases]


def _measured(
    cases: Sequence[ListedCase], out: Path, network: Network | None, jobs: int
) -> Iterator[tuple[ListedCase, dict[str, Any]]]:
    """Side by side; where a process ends, the cases left are tried alone to find the culprit."""
    left = list(cases)
    for one, result in _in_pool(list(cases), out, network, jobs):
        left.remove(one)
        yield one, result
    for one in left:
        found = list(_in_pool([one], out, network, 1))
        yield found[0] if found else (one, {"reason": _CRASHED})


def _in_pool(
    cases: Sequence[ListedCase], out: Path, network: Network | None, jobs: int
) -> Iterator[tuple[ListedCase, dict[str, Any]]]:
    """Yield what comes back; nothing for the cases that a process took down with it."""
    # A forked process would inherit torch's threads, and hang.
    context = multiprocessing.get_context("spawn")
    threads = max(1, usable_cores() // jobs)
    try:
        begun = ProcessPoolExecutor(jobs, context, _begin, (network, threads))
    except (OSError, ImportError) as error:
        sys.stderr.write(
            f"warning: no process can share the work ({error}; is /dev/shm there?): the cases are "
            "measured one by one in this one\n"
        )
        yield from _in_this_process(cases, out, network)
        return
    with begun as pool:
        running: dict[Future[dict[str, Any]], ListedCase] = {}
        try:  # a process may end before all cases are handed in
            for one in cases:
                running[pool.submit(_one, one, out / "cases" / one.case)] = one
            for future in as_completed(running):
                yield running[future], future.result()
        except BrokenProcessPool:
            return


def _in_this_process(
    cases: Sequence[ListedCase], out: Path, network: Network | None
) -> Iterator[tuple[ListedCase, dict[str, Any]]]:
    _begin(network, usable_cores())
    for one in cases:
        yield one, _one(one, out / "cases" / one.case)


# One a process, or none: loading the weights takes longer than many a case.
_segmenters: list[Segmenter] = []


def _begin(network: Network | None, threads: int) -> None:
    warnings.filterwarnings("ignore", module="monai")  # it deprecates its own arguments
    torch.set_num_threads(threads)
    _segmenters[:] = [warm_segmenter(network.weights, network.device)] if network else []


def _one(case: ListedCase, folder: Path) -> dict[str, Any]:
    try:
        return measure_case(case, next(iter(_segmenters), None), folder)
    except (LiverError, ModelError, ValueError, OSError) as error:
        return {"reason": str(error)}
    except Exception as error:  # noqa: BLE001 whatever one case raises, the others go on
        return {"reason": f"a fault of orthanc-liver: {type(error).__name__}: {error}"}


def _key(case: ListedCase, model_sha256: str) -> str:
    """The same as long as the line, its files' content, the weights and this program are.

    Where the files lie, what the case is called, and whether the network learnt from it, changes
    nothing of what is measured.
    """
    line = asdict(case) | {name: content_of(getattr(case, name)) for name in _PATHS}
    parts = [{**line, "case": "", "origin": "", "is_learnt": ""}, model_sha256, __version__]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def content_of(path: Path | None) -> list[str]:
    """A digest of every file, wherever it lies and whatever it is called."""
    if path is None:
        return []
    try:
        files = files_below(path) if path.is_dir() else [path]
        return sorted(_digest(file) for file in files if file.is_file())
    except (OSError, LiverError) as error:  # measuring will fail too, and say why
        return [str(error)]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _result_path(out: Path, case: ListedCase) -> Path:
    return out / "cases" / case.case / "result.json"


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        kept = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) and "key" in kept else None


def _keep(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        part.write_text(json.dumps(result, indent=2) + "\n")
