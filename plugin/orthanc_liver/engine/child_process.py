"""What a process that Orthanc starts does first: give way, end with Orthanc, keep pipes clean."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from pathlib import Path
from typing import BinaryIO

_NICE = 10
_FIRST_TO_GO = "800"  # of 1000


def begin() -> BinaryIO:
    """Return where messages go; whatever libraries print goes to standard error from now on."""
    give_way()
    end_with_the_other_side(sys.stdin.fileno())
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return outgoing


def give_way() -> None:
    """Let Orthanc, and everything else on this machine, go first.

    Linux shares the processor out between sessions before it looks at how nice a process is, and
    this process has a session of its own: that must be nice too.
    """
    os.nice(_NICE)
    # Where memory runs out, the kernel shall end this process and not Orthanc.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    with contextlib.suppress(OSError):  # no such file where the kernel has no autogroups
        Path("/proc/self/autogroup").write_text(str(_NICE))


def end_with_the_other_side(pipe: int) -> None:
    """End this process at once when nobody holds the writing end of the pipe any more.

    Needed because a process that computes does not read, so it would not notice the end of file.
    Messages that still wait in the pipe are left alone.
    """
    watcher = select.poll()
    watcher.register(pipe, 0)  # a hang-up is always reported

    def watch() -> None:
        watcher.poll()
        os._exit(0)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
