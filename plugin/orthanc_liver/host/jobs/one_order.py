"""A process that is started for one order, and never outlives it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from orthanc_liver.host.jobs.engine_process import EngineProcess


@contextmanager
def process_for_one_order(command: list[str], timeout_s: float) -> Iterator[EngineProcess]:
    """Whatever hangs, the end of the process unblocks it: after that time, or with the block."""
    process = EngineProcess(command)
    deadline = threading.Timer(timeout_s, process.kill)
    deadline.daemon = True
    deadline.start()
    try:
        yield process
    finally:
        deadline.cancel()
        process.close()
