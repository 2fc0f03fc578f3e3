"""What Linux' /proc says of the processes of a test, and the percentile that stands for many."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from pathlib import Path


def children_of(pid: int) -> list[int]:
    """The processes that this one started; none once it has ended.

    Linux lists a child under the thread that started it.
    """
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(n) for thread in threads for n in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def peak_mib(pid: int) -> float:
    """The most memory that a process ever had; ProcessLookupError once it has ended.

    getrusage would count its parent's before it.
    """
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(pid) from None
    if not found:  # ended, and its parent has not looked yet
        raise ProcessLookupError(pid)
    return int(found.group(1)) / 1024


def p99(values: Sequence[float]) -> float:
    """The 99th percentile of at least two values."""
    return statistics.quantiles(values, n=100)[98]
