"""How long a test waits before it gives up: what a fast machine needs, times what this one does.

No test asserts how fast anything is; tests/bench measures that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from typing import TypeVar

Found = TypeVar("Found")

# Seconds for the patch of _slowness on two cores with AMX, for which the time-outs were chosen.
_FAST_S = 0.005
_MOST = 12.0
_LOOK_EVERY_S = 0.02


def patience_s(base_s: float) -> float:
    """How long to wait here for what takes a fast machine without other work up to base_s."""
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return base_s * min(_slowness() * max(1.0, load), _MOST)


def wait_for(what: str, look: Callable[[], Found | None], timeout_s: float = 20.0) -> Found:
    """Look again and again until there is something to see; TimeoutError says what was not.

    timeout_s: on a fast machine; only where it has passed is it asked how fast this one is.
    """
    began_s = time.monotonic()
    while not (found := look()):
        waited_s = time.monotonic() - began_s
        if waited_s > timeout_s and waited_s > patience_s(timeout_s):
            raise TimeoutError(f"{what}: not after {waited_s:.0f} s")
        time.sleep(_LOOK_EVERY_S)
    return found


@cache
def _slowness() -> float:
    """How many times as long as a fast machine this one takes for one small patch, at least 1.

    Processor time, so that other work does not count; without torch nothing here needs a patch.
    """
    try:
        import torch  # noqa: PLC0415 seconds, and tests of the host alone do without it

        from liver_unet.inference import fastest_precision  # noqa: PLC0415
    except ImportError:
        return 1.0
    precision = fastest_precision(torch.device("cpu"))
    layer = torch.nn.Conv3d(32, 32, 3, padding=1).to(precision)
    patch = torch.zeros(1, 32, 32, 48, 48, dtype=precision)
    took_s = []
    with torch.inference_mode():
        for _ in range(4):
            began_s = time.process_time()
            layer(patch)
            took_s.append((time.process_time() - began_s) / torch.get_num_threads())
    return max(1.0, min(took_s) / _FAST_S)
