"""The inference process: a warm model behind a pipe, in the project's own interpreter.

Orthanc's worker thread starts it, feeds it one job at a time (frames.py) and ends it by closing
its standard input, which happens also when Orthanc is killed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import torch

from liver_unet.fallback import load_segmenter
from liver_unet.model_errors import ModelError
from liver_unet.segmenter import Segmenter
from liver_unet.weights import default_weights
from orthanc_liver import __version__
from orthanc_liver.dicom.memory import MemoryLimit
from orthanc_liver.dicom.result import Provenance
from orthanc_liver.dicom.result_objects import Source, further_objects, roi_style
from orthanc_liver.engine.child_process import begin
from orthanc_liver.engine.protocol import PipeClosed, read_frame, write_frame
from orthanc_liver.liver_errors import ContoursDisagree, SeriesRefused
from orthanc_liver.pipeline import Outcome, segment_series


class Engine:
    """Answers jobs on two pipes until the first is closed."""

    def __init__(
        self, incoming: BinaryIO, outgoing: BinaryIO, segmenter: Segmenter, device: str
    ) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._segmenter = segmenter
        self._device = device
        self._is_sound = True

    def serve(self) -> None:
        """Say that the model is ready, then take jobs; returns when nobody is left to work for, or
        when the GPU failed."""
        spec = self._segmenter.spec
        self._send(
            {
                "type": "ready",
                "version": __version__,
                "model": {"name": spec.name, "sha256": spec.sha256},
                "device": self._device,
            }
        )
        while self._is_sound:
            try:
                message, _ = read_frame(self._incoming)
            except PipeClosed:
                return
            if message["type"] != "job":
                raise ValueError(f"a frame of type {message['type']!r} came between two jobs")
            self._work(message)

    def _work(self, job: dict[str, Any]) -> None:
        instances = self._instances(job["instances"])
        done = self._outcome(job, instances)
        for _ in instances:
            pass  # what a refused series left in the pipe
        self._send({"type": "done", "id": job["id"], **done})

    def _outcome(self, job: dict[str, Any], instances: Iterator[bytes]) -> dict[str, Any]:
        device = self._segmenter.device
        try:
            return self._segment(job, instances)
        except SeriesRefused as refusal:
            return {"outcome": "refused", "reason": str(refusal)}
        except ContoursDisagree as fault:
            return {"outcome": "failed", "reason": str(fault)}
        except MemoryError:
            return {"outcome": "failed", "reason": "this machine has too little memory for it"}
        except RuntimeError as fault:
            if device.type == "cpu":
                raise
            # After a fault of the GPU nothing that this process computes can be trusted.
            self._is_sound = False
            return {"outcome": "failed", "reason": f"{device} failed ({type(fault).__name__})"}

    def _segment(self, job: dict[str, Any], instances: Iterator[bytes]) -> dict[str, Any]:
        settings = job["settings"]
        outcome = segment_series(
            instances,
            self._segmenter,
            style=roi_style(settings),
            created=datetime.now().astimezone(),
            min_slices=settings["MinimumSlices"],
            limit=MemoryLimit(settings["MaximumMemoryMib"], job["instances"]),
            progress=lambda stage, fraction: self._send(
                {"type": "progress", "id": job["id"], "stage": stage, "fraction": fraction}
            ),
        )
        if outcome.rtstruct is not None and outcome.preview_png is not None:
            head = {"type": "object", "id": job["id"], "name": "rtstruct"}
            self._send(head, outcome.rtstruct)
            self._send({"type": "preview", "id": job["id"]}, outcome.preview_png)
            outcome.report["warnings"] += self._send_further(job, outcome)
        return {"outcome": outcome.outcome, "reason": "", "report": outcome.report}

    def _send_further(self, job: dict[str, Any], outcome: Outcome) -> list[str]:
        """Send what else is to be stored; return warnings."""
        kinds = job["settings"]["Store"]
        if outcome.liver is None or kinds == ["RTSTRUCT"]:
            return []
        spec = self._segmenter.spec
        source = Source(
            outcome.series,
            outcome.liver.mask_on_ct(),
            Provenance(__version__, spec.name, spec.sha256),
            roi_style(job["settings"]),
        )
        try:
            objects = list(further_objects(source, kinds, datetime.now().astimezone()))
        except Exception as error:  # noqa: BLE001 no header must cost the patient the RTSTRUCT
            return [f"SEG and SR could not be written ({type(error).__name__})"]
        for name, content in objects:
            self._send({"type": "object", "id": job["id"], "name": name}, content)
        return []

    def _instances(self, count: int) -> Iterator[bytes]:
        for _ in range(count):
            message, content = read_frame(self._incoming)
            if message["type"] != "instance":
                raise ValueError(f"a frame of type {message['type']!r} came among the instances")
            yield content

    def _send(self, message: dict[str, Any], payload: bytes = b"") -> None:
        write_frame(self._outgoing, message, payload)


def main() -> None:
    """Entry of `python -m orthanc_liver.engine.inference_process`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=Path, default=default_weights())
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    outgoing = begin()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        segmenter, device = load_segmenter(arguments.weights, arguments.device)
    except (ModelError, RuntimeError) as error:
        write_frame(outgoing, {"type": "failed", "reason": str(error)})
        return
    Engine(sys.stdin.buffer, outgoing, segmenter, device).serve()


if __name__ == "__main__":
    main()
