"""make soak: many full-size series at once, two kills in the middle, and what became of them.

Prints series in, results out, duplicates, lost, wall time, the client's answers, peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import requests

from tests.support.ct_writer import as_another_patient, write_ct_series
from tests.support.orthanc_server import HUNG_UP, OrthancServer, send_side_by_side
from tests.support.patience import wait_for
from tests.support.phantom import abdomen
from tests.support.processes import children_of, p99, peak_mib

_IN_PLANE = 512
_FIELD_MM = (300.0, 384.0, 384.0)
_ASK_EVERY_S = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--series", type=int, default=18)
    parser.add_argument("--slices", type=int, default=250)
    parser.add_argument("--minutes", type=float, default=60, help="give up after so many")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orthanc-liver-soak-") as folder:
        server = OrthancServer(Path(folder), {"StableAge": 5})
        with server.until_killed():
            soak = Soak(server, options.series, options.slices, 60 * options.minutes)
            figures = soak.run()
    print(json.dumps(figures, indent=2))
    if figures["lost"] or figures["duplicates"]:
        sys.exit("make soak: something was lost or done twice")


class Patient:
    """The made-up patient, drawn small once; every slice shares its pixels with its neighbours."""

    def __init__(self, slices: int) -> None:
        drawn = abdomen((60, 128, 128), (5.0, 3.0, 3.0))
        self._template = write_ct_series(drawn.volume)
        self._pixels = [
            np.kron(one.pixel_array, np.ones((4, 4), dtype=np.uint16)).tobytes()
            for one in self._template
        ]
        for one in self._template:
            del one.PixelData
        self._slices = slices

    def series(self, number: int) -> Iterator[pydicom.FileDataset]:
        """One series of a study of its own; the datasets are made when it is sent."""
        step_mm = _FIELD_MM[0] / self._slices
        drawn = [index * len(self._template) // self._slices for index in range(self._slices)]
        copies = as_another_patient((self._template[n] for n in drawn), f"SOAK-{number}")
        for index, one in enumerate(copies):
            one.InstanceNumber = index + 1
            one.Rows = one.Columns = _IN_PLANE
            one.PixelSpacing = [_FIELD_MM[1] / _IN_PLANE, _FIELD_MM[2] / _IN_PLANE]
            one.ImagePositionPatient = [
                *(float(v) for v in one.ImagePositionPatient[:2]),
                round(-_FIELD_MM[0] / 2 + index * step_mm, 4),
            ]
            one.SliceThickness = round(step_mm, 4)
            one.PixelData = self._pixels[drawn[index]]
            yield one


@dataclass
class Watcher:
    """A client that keeps asking, and the most memory that each process ever had."""

    server: OrthancServer
    answers_ms: dict[str, list[float]] = field(default_factory=dict)
    peaks_mib: dict[str, float] = field(default_factory=lambda: {"Orthanc": 0.0, "inference": 0.0})
    unanswered: int = 0

    def __post_init__(self) -> None:
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._enough.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._enough.wait(_ASK_EVERY_S):
            for path in ("/system", "/liver/jobs"):
                self._ask(path)
            if self.server.process and self.server.process.poll() is None:
                self._note("Orthanc", self.server.process.pid)
                for pid in children_of(self.server.process.pid):
                    self._note("inference", pid)

    def _ask(self, path: str) -> None:
        began_s = time.perf_counter()
        try:
            answer = requests.get(self.server.url + path, timeout=30)
        except HUNG_UP:
            return  # Orthanc is down: we killed it
        except requests.Timeout:
            self.unanswered += 1
            return
        if answer.status_code == 200:
            took_ms = 1000 * (time.perf_counter() - began_s)
            self.answers_ms.setdefault(path, []).append(took_ms)

    def _note(self, name: str, pid: int) -> None:
        with suppress(ProcessLookupError):  # we kill some
            self.peaks_mib[name] = max(self.peaks_mib[name], peak_mib(pid))


class Soak:
    """One run: send, kill twice, wait, count."""

    def __init__(self, server: OrthancServer, series: int, slices: int, limit_s: float) -> None:
        self._server = server
        self._series = series
        self._patient = Patient(slices)
        self._deadline_s = time.monotonic() + limit_s

    def run(self) -> dict[str, Any]:
        self._ready()
        watcher = Watcher(self._server)
        began_s = time.monotonic()
        every = (self._patient.series(number) for number in range(self._series))
        send_side_by_side(every, self._server.dicom_port)
        sent_s = time.monotonic() - began_s
        _say(f"{self._series} series sent in {sent_s:.0f} s")
        self._kill_inference(after=self._series // 3)
        self._kill_orthanc(after=2 * self._series // 3)
        self._wait_for_ended(self._series)
        wall_s = time.monotonic() - began_s
        watcher.stop()
        return {
            **self._count(),
            "seconds to send": round(sent_s),
            "seconds in all": round(wall_s),
            **{
                f"{path} {name} ms": round(value, 1)
                for path, taken in watcher.answers_ms.items()
                for name, value in (("p99", p99(taken)), ("worst", max(taken)))
            },
            "answers": sum(map(len, watcher.answers_ms.values())),
            "never answered": watcher.unanswered,
            "peak MiB": {name: round(mib) for name, mib in watcher.peaks_mib.items()},
        }

    def _ready(self) -> None:
        wait_for("the model", lambda: self._server.get("/liver/status")["Engine"] == "ready", 300)

    def _ended(self) -> int:
        queue = self._server.get("/liver/status")["Queue"]
        return int(queue["Success"] + queue["Failure"])

    def _wait_for_ended(self, count: int) -> None:
        left_s = max(self._deadline_s - time.monotonic(), 1.0)
        wait_for(f"{count} of {self._series} jobs", lambda: self._ended() >= count, left_s)

    def _running(self) -> bool:
        return bool(self._server.get("/liver/status")["Queue"]["Running"])

    def _kill_inference(self, after: int) -> None:
        self._wait_for_ended(after)
        wait_for("a running job", self._running, 60)
        assert self._server.process is not None
        for pid in children_of(self._server.process.pid):
            os.kill(pid, signal.SIGKILL)
        _say(f"kill -9 of the inference process after {after} jobs")

    def _kill_orthanc(self, after: int) -> None:
        self._wait_for_ended(after)
        wait_for("a running job", self._running, 60)
        self._server.kill9()
        _say(f"kill -9 of Orthanc after {after} jobs")
        self._server.start()

    def _count(self) -> dict[str, Any]:
        outcomes: dict[str, int] = {}
        for job in self._server.get("/liver/jobs?expand"):
            outcome = job["Content"]["Outcome"]
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
        per_study = []
        for study in self._server.get("/studies?expand"):
            uid = study["MainDicomTags"]["StudyInstanceUID"]
            found = self._server.call(
                "GET", f"/dicom-web/studies/{uid}/instances?Modality=RTSTRUCT"
            )
            per_study.append(len(found.json()) if found.status_code == 200 else 0)
        return {
            "series in": len(per_study),
            "results out": sum(per_study),
            "duplicates": sum(n - 1 for n in per_study if n > 1),
            "lost": self._series - sum(1 for n in per_study if n),
            "outcomes": outcomes,
        }


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
