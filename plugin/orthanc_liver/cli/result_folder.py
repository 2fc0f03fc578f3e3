"""The folder that segment writes into: never a former run's outcome, never half a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orthanc_liver import NOTE, __version__
from orthanc_liver.engine.protocol import Outcome
from orthanc_liver.liver_errors import LiverError

MASK, RTSTRUCT, OVERLAY, REPORT = "liver.nii.gz", "rtstruct.dcm", "overlay.png", "report.json"
_OUTPUTS = (MASK, RTSTRUCT, OVERLAY, REPORT)
_PART = "part-"


class OutputRefused(LiverError):
    """The results cannot be written there."""


class ResultFolder:
    """What one run leaves; its report says "failed" until the run has come to an end."""

    def __init__(self, folder: Path, source: Path) -> None:
        """Take away what a former run left; raises OutputRefused where others wrote there.

        source: what is to be segmented.
        """
        self._folder = folder
        there = [name for name in _OUTPUTS if (folder / name).exists()]
        if there and not _is_ours(folder / REPORT):
            raise OutputRefused(
                f"{folder} holds {there[0]}, which is not known to be of a former run: name "
                "another folder"
            )
        if source.resolve() in [(folder / name).resolve() for name in there]:
            raise OutputRefused(f"{source} would be written over: name another folder")
        with _refusing_unwritable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name in _OUTPUTS:
                for stale in (name, _PART + name):
                    (folder / stale).unlink(missing_ok=True)
        self.end_without_result(Outcome.FAILED, "the run did not come to its end")

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Where to write an output; it takes its name when it is complete."""
        part = self._folder / (_PART + name)
        with _refusing_unwritable(self._folder / name):
            try:
                yield part
                part.replace(self._folder / name)
            finally:
                part.unlink(missing_ok=True)

    def report(self, content: dict[str, Any]) -> None:
        """Write report.json."""
        with self.writing(REPORT) as path:
            path.write_text(json.dumps(content, indent=2) + "\n")

    def end_without_result(self, outcome: Outcome, reason: str) -> None:
        """Report why there is none."""
        about = {"software_version": __version__, "warnings": [], "note": NOTE}
        self.report({"outcome": outcome, "liver_ml": None, "reason": reason, **about})


def _is_ours(report: Path) -> bool:
    try:
        content = json.loads(report.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"outcome", "software_version"} <= content.keys()


@contextmanager
def _refusing_unwritable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputRefused(f"{path} cannot be written ({error.strerror or error})") from error
