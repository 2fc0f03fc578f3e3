"""The inference process: a warm model behind a pipe, in the project's own interpreter.

Orthanc's worker thread starts it, feeds it one job at a time (protocol.py) and ends it by closing
its standard input, which happens also when Orthanc is killed.
"""

from __future__ import annotations

import argparse
import math
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import torch

from liver_unet import gpu
from liver_unet.fallback import Loaded, load_segmenter
from liver_unet.freed_memory import give_back_freed_memory, is_short_of_memory
from liver_unet.model_errors import ModelError, NoNumbers
from liver_unet.weights import default_weights
from orthanc_liver import __version__
from orthanc_liver.dicom.memory import MemoryLimit
from orthanc_liver.dicom.unsure_contours import as_text
from orthanc_liver.engine.child_process import begin
from orthanc_liver.engine.cores import usable_cores
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

# How long freed memory waits for the next job: getting it anew took that one 0.5 to 1.5 s.
_HOLD_MEMORY_S = 30.0
# How long the CPU stands in for a GPU that could not be used at the start.
_TRY_GPU_AGAIN_S = 900.0
_NO_MEMORY = (
    "this machine has too little memory for it: add memory, or lower MaximumMemoryMib, so that "
    "such a series is refused"
)


class Engine:
    """Answers jobs on two pipes until the first is closed."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO, loaded: Loaded) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._segmenter = loaded.segmenter
        self._device = loaded.device
        self._try_gpu_at_s = (
            time.monotonic() + _TRY_GPU_AGAIN_S if loaded.in_place_of_gpu else math.inf
        )

    def serve(self) -> None:
        """Say that the model is ready, then take jobs; returns when nobody is left to work for, or
        when the host was told that the process ends."""
        spec = self._segmenter.fine.spec
        self._send(Ready(__version__, spec.name, spec.sha256, self._device))
        done = None
        while not (done and done.is_last):
            try:
                order = self._next()
            except PipeClosed:
                return
            if not isinstance(order, Order):
                raise ProtocolError(f"a {type(order).__name__} between two jobs")
            done = self._work(order)

    def _work(self, order: Order) -> Done:
        instances = read_instances(self._incoming, order)
        done = self._done(order, instances)
        for _ in instances:
            pass  # what a refused series left in the pipe
        done = replace(done, is_last=self._wants_a_fresh_process())
        self._send(done)
        return done

    def _next(self) -> Message:
        """What comes next; memory that the job before has left is not held for long."""
        idle = threading.Timer(_HOLD_MEMORY_S, _give_back_memory)
        idle.daemon = True
        idle.start()
        try:
            return read(self._incoming)
        finally:
            idle.cancel()

    def _wants_a_fresh_process(self) -> bool:
        device = self._segmenter.device
        # After its loss a GPU serves this process no more, but it may serve the next.
        is_lost = device.type == "cuda" and not gpu.works(device)
        return is_lost or time.monotonic() >= self._try_gpu_at_s

    def _done(self, order: Order, instances: Iterator[bytes]) -> Done:
        try:
            return self._segment(order, instances)
        except SeriesRefused as refusal:
            return Done(order.job, Outcome.REFUSED, str(refusal), None)
        except (ContoursDisagree, NoNumbers) as fault:
            return Done(order.job, Outcome.FAILED, str(fault), None)
        except (MemoryError, RuntimeError) as error:
            if not is_short_of_memory(error):
                raise
            return Done(order.job, Outcome.FAILED, _NO_MEMORY, None)

    def _segment(self, order: Order, instances: Iterator[bytes]) -> Done:
        found = segment_series(
            instances,
            self._segmenter,
            order.settings,
            created=datetime.now().astimezone(),
            limit=MemoryLimit(
                order.settings.maximum_memory_mib, order.instances, order.settings.kinds
            ),
            progress=lambda stage, fraction: self._send(Progress(order.job, stage, fraction)),
        )
        for kind, contents in found.objects.items():
            for content in contents:
                self._send(ResultObject(order.job, kind, content))
        if found.preview_png is not None:
            self._send(Preview(order.job, found.preview_png))
        if found.unsure:
            self._send(Unsure(order.job, as_text(order.job, found.unsure)))
        return Done(order.job, found.outcome, "", found.report)

    def _send(self, message: Message) -> None:
        write(self._outgoing, message)


def _give_back_memory() -> None:
    give_back_freed_memory()
    gpu.give_back_unused_memory()


def main() -> None:
    """Entry of `python -m orthanc_liver.engine.inference_process`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=Path, default=default_weights())
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    outgoing = begin()
    torch.set_num_threads(arguments.threads or min(torch.get_num_threads(), usable_cores()))
    try:
        loaded = load_segmenter(arguments.weights, arguments.device)
    except (ModelError, RuntimeError) as error:
        write(outgoing, Failed(str(error)))
        return
    Engine(sys.stdin.buffer, outgoing, loaded).serve()


if __name__ == "__main__":
    main()
