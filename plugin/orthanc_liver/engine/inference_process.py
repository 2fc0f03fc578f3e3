"""The inference process: a warm model behind a pipe, in the project's own interpreter.

Orthanc's worker thread starts it, feeds it one job at a time (protocol.py) and ends it by closing
its standard input, which happens also when Orthanc is killed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import torch

from liver_unet.fallback import load_segmenter
from liver_unet.model_errors import ModelError
from liver_unet.segmenter import Segmenter
from liver_unet.weights import default_weights
from orthanc_liver import __version__
from orthanc_liver.dicom.memory import MemoryLimit
from orthanc_liver.dicom.unsure_contours import as_text
from orthanc_liver.engine.child_process import begin
from orthanc_liver.engine.protocol import (
    Done,
    Failed,
    Message,
    Order,
    Outcome,
    PipeClosed,
    Preview,
    Progress,
    ProtocolError,
    Ready,
    ResultObject,
    Unsure,
    read,
    read_instances,
    write,
)
from orthanc_liver.liver_errors import ContoursDisagree, SeriesRefused
from orthanc_liver.pipeline import segment_series


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
        spec = self._segmenter.fine.spec
        self._send(Ready(__version__, spec.name, spec.sha256, self._device))
        while self._is_sound:
            try:
                order = read(self._incoming)
            except PipeClosed:
                return
            if not isinstance(order, Order):
                raise ProtocolError(f"a {type(order).__name__} between two jobs")
            self._work(order)

    def _work(self, order: Order) -> None:
        instances = read_instances(self._incoming, order)
        done = self._done(order, instances)
        for _ in instances:
            pass  # what a refused series left in the pipe
        self._send(done)

    def _done(self, order: Order, instances: Iterator[bytes]) -> Done:
        device = self._segmenter.device
        try:
            return self._segment(order, instances)
        except SeriesRefused as refusal:
            return Done(order.job, Outcome.REFUSED, str(refusal), None)
        except ContoursDisagree as fault:
            return Done(order.job, Outcome.FAILED, str(fault), None)
        except MemoryError:
            reason = "this machine has too little memory for it"
            return Done(order.job, Outcome.FAILED, reason, None)
        except RuntimeError as fault:
            if device.type == "cpu":
                raise
            # After a fault of the GPU nothing that this process computes can be trusted.
            self._is_sound = False
            reason = f"{device} failed ({type(fault).__name__})"
            return Done(order.job, Outcome.FAILED, reason, None)

    def _segment(self, order: Order, instances: Iterator[bytes]) -> Done:
        found = segment_series(
            instances,
            self._segmenter,
            order.settings,
            created=datetime.now().astimezone(),
            limit=MemoryLimit(order.settings.maximum_memory_mib, order.instances),
            progress=lambda stage, fraction: self._send(Progress(order.job, stage, fraction)),
        )
        for kind, content in found.objects.items():
            self._send(ResultObject(order.job, kind, content))
        if found.preview_png is not None:
            self._send(Preview(order.job, found.preview_png))
        if found.unsure:
            self._send(Unsure(order.job, as_text(order.job, found.unsure)))
        return Done(order.job, found.outcome, "", found.report)

    def _send(self, message: Message) -> None:
        write(self._outgoing, message)


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
        write(outgoing, Failed(str(error)))
        return
    Engine(sys.stdin.buffer, outgoing, segmenter, device).serve()


if __name__ == "__main__":
    main()
