"""Orthanc's labels of a study, by which Orthanc Explorer 2 lists and filters what came of it."""

from __future__ import annotations

from orthanc_liver.engine.protocol import GRADES, Outcome
from orthanc_liver.host.jobs.records import Ledger
from orthanc_liver.host.review.clearance import Clearance, Clearances
from orthanc_liver.host.review.review import Verdict
from orthanc_liver.host.server.api import Missing, Orthanc, OrthancError

_PREFIX = "liver-"
LABELS = tuple(f"{_PREFIX}{word}" for word in (*GRADES, Verdict.ACCEPTED))
# What ended so says that the former outline no longer stands.
_NO_OUTLINE = (Outcome.NO_LIVER, Outcome.REFUSED)
_LACKING = "Labels is set, but this Orthanc has no labels (1.12 and later do): none is set"


class StudyLabels:
    """A study bears one for each of its series' last results: the grade, or that a person accepted
    it; none for what was rejected. Of others' labels none is touched."""

    def __init__(
        self, orthanc: Orthanc, ledger: Ledger, clearances: Clearances, *, is_on: bool
    ) -> None:
        self._orthanc = orthanc
        self._ledger = ledger
        self._clearances = clearances
        self._is_on = is_on
        self.problem = ""  # what keeps them from being set, for whoever looks after the server

    def begin(self) -> None:
        """Say at the start what this Orthanc lacks."""
        if self._is_on and not self._orthanc.get("/system").get("HasLabels"):
            self.problem = _LACKING
            self._orthanc.log_error(_LACKING)

    def renew(self, study: str) -> None:
        """Something came of one of its series; a label that fails costs no result."""
        if not self._is_on or self.problem == _LACKING:
            return
        try:
            self._set(study)
            self.problem = ""
        except Missing:
            return  # the study is gone
        except OrthancError as error:
            self.problem = f"the labels of a study could not be set: {error}"
            self._orthanc.log_error(f"study {study}: {self.problem}")

    def _set(self, study: str) -> None:
        here = self._orthanc.get(f"/studies/{study}/labels")
        wanted = {label for one in self._results(study) if (label := _label(one))}
        for label in LABELS:
            path = f"/studies/{study}/labels/{label}"
            if label in wanted and label not in here:
                self._orthanc.put(path, b"")
            elif label in here and label not in wanted:
                self._orthanc.delete(path)

    def _results(self, study: str) -> list[Clearance]:
        """What is known of the last outline of each series."""
        series = self._orthanc.get(f"/studies/{study}")["Series"]
        records = ((one, self._ledger.read_record(one)) for one in series)
        return [
            self._clearances.of(one, str(record.result["Instance"]))
            for one, record in records
            if record and record.result and record.job.outcome not in _NO_OUTLINE
        ]


def _label(one: Clearance) -> str:
    if one.review:
        is_accepted = one.review.verdict is Verdict.ACCEPTED
        return f"{_PREFIX}{Verdict.ACCEPTED}" if is_accepted else ""
    return f"{_PREFIX}{one.grade}" if one.grade else ""
