"""A process that is started for one order, and never outlives it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from orthanc_liver.host.jobs.engine_process import Deadline, EngineProcess


@contextmanager
def process_for_one_order(command: list[str], timeout_s: float) -> Iterator[EngineProcess]:
    """Whatever hangs, the end of the process unblocks it: after that time, or with the block."""
    process = EngineProcess(command)
    deadline = Deadline(timeout_s, process)
    try:
        yield process
    finally:
        deadline.cancel()
        process.close()
