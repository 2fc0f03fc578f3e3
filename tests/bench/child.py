"""What is timed runs in a process of its own, so that each has a peak memory of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orthanc_liver.host.jobs.engine_process import QUIET
from tests.support.processes import peak_mib

CHECKOUT = Path(__file__).resolve().parents[2]
# This checkout's, whichever one the environment was made in.
_OUR_CODE = os.pathsep.join(str(CHECKOUT / part) for part in ("", "plugin", "model"))
_VENVS = Path(os.environ.get("JUDGES_VENV") or CHECKOUT / ".venv-judges")
_TIMEOUT_S = 900
_OURS = "tests.bench.ours"


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


def measure(module: str, *arguments: str) -> Measured:
    """Run `python -m module arguments` and take what it tells; RuntimeError where it fails."""
    as_orthanc_starts_it = QUIET if module == _OURS else {}
    return _told_by([sys.executable, "-m", module, *arguments], as_orthanc_starts_it)


def measure_rt_utils(folder: Path) -> Measured:
    """Run rt-utils, in its own environment, on reference.npy beside dicom/ in the folder."""
    script = Path(__file__).with_name("rt_utils_script.py")
    return _told_by([str(_VENVS / "rt_utils" / "bin" / "python"), str(script), str(folder)], {})


def tell(seconds: list[dict[str, float]], **extra: Any) -> None:
    """The child's side of `measure`."""
    told = {"seconds": seconds, "peak_gib": peak_mib(os.getpid()) / 1024, **extra}
    sys.stdout.write(json.dumps(told) + "\n")


def _told_by(command: list[str], environment: Mapping[str, str]) -> Measured:
    ran = subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**environment, **os.environ, "PYTHONPATH": _OUR_CODE},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if ran.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{ran.stderr[-2000:]}")
    told = json.loads(ran.stdout.splitlines()[-1])
    return Measured(told.pop("seconds"), told.pop("peak_gib"), told)
