"""What is timed runs in a process of its own, so that each has a peak memory of its own."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 900


@dataclass(frozen=True)
class Measured:
    """seconds: by stage, one dictionary a run. extra: whatever else the child tells."""

    seconds: list[dict[str, float]]
    peak_gib: float
    extra: dict[str, Any]

    def median_s(self, *stages: str) -> float:
        """Of these stages together, of all where none is named."""
        return statistics.median(
            sum(s for name, s in run.items() if not stages or name in stages)
            for run in self.seconds
        )

    @property
    def stages(self) -> list[str]:
        return list(self.seconds[0])


def measure(module: str, *arguments: str, python: str = sys.executable) -> Measured:
    """Run `python -m module arguments` and take what it tells; RuntimeError where it fails."""
    ran = subprocess.run(
        [python, "-m", module, *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if ran.returncode:
        raise RuntimeError(f"{module} {' '.join(arguments)} failed:\n{ran.stderr[-2000:]}")
    told = json.loads(ran.stdout.splitlines()[-1])
    return Measured(told.pop("seconds"), told.pop("peak_gib"), told)


def tell(seconds: list[dict[str, float]], **extra: Any) -> None:
    """The child's side of `measure`."""
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write("\n" + json.dumps({"seconds": seconds, "peak_gib": peak_gib, **extra}) + "\n")
