"""make bench: all parts, or with ONLY=stages,reference those named.

First stands what computes, and how near the networks come to what it could. Each part prints a
table. Medians and ratios: absolute times are this machine's of this hour.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import torch

from liver_unet.inference import fastest_precision
from liver_unet.metrics import dice
from tests.bench import through_orthanc
from tests.bench.child import Measured, measure, measure_rt_utils
from tests.bench.series import kinds, prepared
from tests.bench.viewing import viewed as viewing_of
from tests.support.ct_writer import write_ct_series
from tests.support.phantom import abdomen
from tests.support.processes import p99

_RUNS = 3
_OF_A_NETWORK = {
    "gmac": ".1f",
    "patch_ms": ".1f",
    "gflops": ".0f",
    "limit_gflops": ".0f",
    "of_the_limit": ".2f",
}
_NETWORK = ("localise", "infer", "look again")


def stages(folder: Path) -> None:
    """Ours, stage by stage."""
    columns = {
        f"{kind} {slices}": measure("tests.bench.ours", str(prepared(folder, kind, slices)), "3")
        for kind in kinds()
        for slices in (120, 250, 600)
    }
    names = next(iter(columns.values())).stages
    _table(
        ["seconds", *columns],
        [
            *([name, *(f"{m.median_s(name):.2f}" for m in columns.values())] for name in names),
            ["all", *(f"{m.median_s():.2f}" for m in columns.values())],
            ["all but the network", *(f"{_but_the_network_s(m):.2f}" for m in columns.values())],
            ["peak GiB", *(f"{m.peak_gib:.2f}" for m in columns.values())],
        ],
    )


def reference(folder: Path) -> None:
    """Ours and MONAI with rt-utils, fp32 and bf16 where the processor computes in it: the same
    series, weights, spacing, threads."""
    for kind, slices in (("real", 250), ("phantom", 120)):
        if kind in kinds():
            _against_the_reference(prepared(folder, kind, slices))


def _against_the_reference(series: Path) -> None:
    ours = measure("tests.bench.ours", str(series), str(_RUNS))
    mask = np.load(series / "ours.npy")
    rows = [[f"ours, {series.name}", f"{ours.median_s():.1f}", "1.0", "", f"{ours.peak_gib:.2f}"]]
    theirs: dict[str, Measured] = {}
    for precision in _precisions():
        theirs[precision] = found = measure("tests.bench.reference", str(series), precision)
        dsc = dice(mask, np.load(series / "reference.npy"))
        seconds = f"{found.median_s():.1f}"
        ratio = f"{found.median_s() / ours.median_s():.1f}"
        rows.append(
            [f"reference {precision}", seconds, ratio, f"{dsc:.4f}", f"{found.peak_gib:.2f}"]
        )
    _table(["", "seconds", "times ours", "DSC with ours", "peak GiB"], rows)
    _table(
        ["reference, seconds", *theirs],
        [[s, *(f"{m.median_s(s):.2f}" for m in theirs.values())] for s in theirs["fp32"].stages],
    )


def _precisions() -> tuple[str, ...]:
    """bf16 only where the processor computes in it; emulated it says nothing."""
    is_bf16 = fastest_precision(torch.device("cpu")) == torch.bfloat16
    return ("fp32", "bf16") if is_bf16 else ("fp32",)


def tools(folder: Path) -> None:
    """Single stages against the well-known tool for each."""
    series = prepared(folder, kinds()[0], 250)
    if not (series / "reference.npy").exists():
        measure("tests.bench.ours", str(series), "1")
        (series / "ours.npy").rename(series / "reference.npy")
    found = {
        name: measure("tests.bench.tools", name, str(series), str(_RUNS))
        for name in (
            *("read_ours", "read_simpleitk", "read_highdicom", "contours_ours"),
            *("holes_ours", "holes_scipy", "largest_ours", "largest_scipy"),
        )
    }
    rt_utils = measure_rt_utils(series)
    found["contours_rt-utils"] = replace(
        rt_utils, seconds=[{"contour": rt_utils.median_s("contour")}]
    )
    rows = []
    for name, one in found.items():
        ours = found[f"{name.split('_')[0]}_ours"].median_s()
        ratio = f"{one.median_s() / ours:.1f}"
        rows.append(
            [name.replace("_", ", "), f"{one.median_s():.2f}", ratio, f"{one.peak_gib:.2f}"]
        )
    _table([series.name, "seconds", "times ours", "peak GiB"], rows)


def growth(folder: Path) -> None:
    """Time and memory with the number of slices."""
    rows = []
    for slices in (120, 250, 500, 1000):
        found = measure("tests.bench.ours", str(prepared(folder, kinds()[0], slices)), "1")
        each_ms = f"{1000 * found.median_s() / slices:.1f}"
        rows.append([str(slices), f"{found.median_s():.2f}", each_ms, f"{found.peak_gib:.2f}"])
    _table(["slices", "seconds", "ms a slice", "peak GiB"], rows)


def orthanc(folder: Path) -> None:
    """From the first C-STORE to the last RTSTRUCT in Orthanc, StableAge 1 s."""
    for kind in kinds():
        series = prepared(folder, kind, 250)
        instances = [pydicom.dcmread(path) for path in sorted((series / "dicom").iterdir())]
        counts = (1, 18)
        of = [through_orthanc.through_orthanc(cases, instances) for cases in counts]
        rows = [
            ["all", *(f"{one.all_s:.1f}" for one in of)],
            ["a case", *(f"{one.all_s / n:.1f}" for one, n in zip(of, counts, strict=True))],
            ["all received after", *(f"{one.received_s:.1f}" for one in of)],
            ["first job begun after", *(f"{one.first_job_s:.1f}" for one in of)],
            ["longest gap between jobs", *(f"{max(one.gaps_s, default=0):.3f}" for one in of)],
        ]
        for name in of[0].cpu_s:
            each = zip(of, counts, strict=True)
            rows.append([f"{name}, CPU a case", *(f"{one.cpu_s[name] / n:.2f}" for one, n in each)])
        for stage in of[0].stages_s:
            rows.append([f"first job: {stage}", *(f"{one.stages_s[stage]:.2f}" for one in of)])
        _table([f"{series.name}, seconds", *(f"{n} cases" for n in counts)], rows)
    orthanc_s, engine_s = through_orthanc.idle_cpu_s()
    _table(
        ["idle for 10 s", "CPU s"], [["Orthanc", f"{orthanc_s:.2f}"], ["engine", f"{engine_s:.2f}"]]
    )


def latency(folder: Path) -> None:
    """GET /system while idle and during a job."""
    series = prepared(folder, "phantom", 120)
    instances = [pydicom.dcmread(path) for path in sorted((series / "dicom").iterdir())]
    found = through_orthanc.latencies_ms(instances)
    rows = [
        [name, f"{statistics.median(ms):.2f}", f"{p99(ms):.2f}", str(len(ms))]
        for name, ms in found.items()
    ]
    _table(["GET /system", "median ms", "p99 ms", "answers"], rows)
    idle_ms, busy_ms = (p99(ms) for ms in found.values())
    print(f"p99 during a job / idle: {busy_ms / idle_ms:.2f}")


def crowd(folder: Path) -> None:
    """GET /liver/jobs?expand with 200 jobs, for one client and for 300 at once."""
    found = through_orthanc.crowd_ms(300)
    rows = [[name, f"{statistics.median(ms):.0f}", f"{p99(ms):.0f}"] for name, ms in found.items()]
    _table(["GET /liver/jobs?expand", "median ms", "p99 ms"], rows)
    one_ms, crowd_ms = (statistics.median(ms) for ms in found.values())
    print(f"median of 300 at once / alone: {crowd_ms / one_ms:.1f}")


def viewing(folder: Path) -> None:
    """The review page of 250 slices in Chromium, over 100 Mbit/s, 20 steps a second."""
    phantom = abdomen((250, 512, 512), (1.28, 0.8, 0.8))
    instances = write_ct_series(phantom.volume)
    rows = [
        [
            str(number),
            f"{one.first_slice_ms:.0f}",
            f"{np.median(one.delays_ms):.0f}",
            f"{sum(np.isinf(one.delays_ms))} of {len(one.delays_ms)}",
            f"{one.picture_kb:.0f}",
        ]
        for number, one in enumerate(viewing_of(instances, phantom.liver), 1)
    ]
    _table(["visit", "first slice, ms", "median delay, ms", "steps missed", "kB a slice"], rows)


PARTS: dict[str, Callable[[Path], None]] = {
    part.__name__: part
    for part in (stages, reference, tools, growth, orthanc, latency, crowd, viewing)
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}; all where none")
    chosen = parser.parse_args().parts or list(PARTS)
    if unknown := set(chosen) - PARTS.keys():
        sys.exit(f"make bench: there is no part {min(unknown)!r}; there are {', '.join(PARTS)}")
    arithmetic()
    with tempfile.TemporaryDirectory(prefix="orthanc-liver-bench-") as folder:
        for name in chosen:
            began = time.perf_counter()
            print(f"\n{name}: {PARTS[name].__doc__}", flush=True)
            PARTS[name](Path(folder))
            print(f"({name} took {time.perf_counter() - began:.0f} s)", flush=True)


def arithmetic() -> None:
    """What computes, and how near the networks come to what it could."""
    told = measure("tests.bench.arithmetic").extra
    machine, networks = told["machine"], told["networks"]
    offers = ", ".join(machine["instructions"]) or "none that is known here"
    print(f"{machine['processor']}, {len(os.sched_getaffinity(0))} cores")
    print(f"instructions: {offers}; torch uses {machine['torch_uses']}")
    print(f"networks: {machine['runtime']}, {machine['precision']}, {machine['threads']} threads")
    print(f"card: {machine['card']}", flush=True)
    rows = [
        [name, *(f"{one[key]:{form}}" for key, form in _OF_A_NETWORK.items())]
        for name, one in networks.items()
    ]
    _table(["network", *_OF_A_NETWORK], rows)


def _but_the_network_s(found: Measured) -> float:
    return found.median_s(*(name for name in found.stages if name not in _NETWORK))


def _table(head: list[str], rows: Iterable[list[str]]) -> None:
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    print()
    for line in lines:
        first, *rest = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join([line[0].ljust(len(first)), *rest]), flush=True)


if __name__ == "__main__":
    main()
