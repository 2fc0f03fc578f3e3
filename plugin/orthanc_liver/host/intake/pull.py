"""Studies of other servers: found there, fetched into this Orthanc, segmented as those that arrive.

A list is taken at the pace of a backfill. What passes (a server that is away) is tried again, what
does not is told, and the next study is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orthanc_liver.host.errors import NotPulled, NotPulledYet, PullRefused
from orthanc_liver.host.intake.intake import Door, Intake
from orthanc_liver.host.intake.paced import LOOK_S, MAX_STUDIES, Pace, Paced
from orthanc_liver.host.intake.place import Place
from orthanc_liver.host.intake.remote_study import Failed, Key, Wanted, Way
from orthanc_liver.host.intake.series_filter import SeriesFilter
from orthanc_liver.host.intake.sources import Found, Sources, unknown
from orthanc_liver.host.jobs.job_queue import JobQueue
from orthanc_liver.host.jobs.records import forget_pull, keep_pull_place, keep_wanted, read_pull
from orthanc_liver.host.server.api import Orthanc
from orthanc_liver.host.server.waits import growing_wait_s

_ATTEMPTS = 4


def wanted_studies(sources: Sources, asked: Mapping[str, Any]) -> list[Wanted]:
    """What a body asks for: {"Modality" or "DicomWeb": name, "AccessionNumbers" and or
    "StudyInstanceUIDs": [texts]}; PullRefused for any other."""
    ways = [way for way in Way if way in asked]
    lists = {key: asked.get(f"{key}s", []) for key in Key}
    if len(ways) != 1 or set(asked) - {*Way, *(f"{key}s" for key in Key)}:
        raise PullRefused(
            'the body must be {"Modality": "..."} or {"DicomWeb": "..."}, with a list '
            "AccessionNumbers, a list StudyInstanceUIDs, or both"
        )
    [way] = ways
    if not isinstance(asked[way], str):
        raise PullRefused(f"{way} must be a name")
    texts = [(key, one) for key, values in lists.items() for one in _texts(f"{key}s", values)]
    wanted = [Wanted(way, asked[way], key, text) for key, text in dict.fromkeys(texts)]
    if not wanted:
        raise PullRefused("name at least one study, in AccessionNumbers or StudyInstanceUIDs")
    if problem := next((one.problem for one in wanted if one.problem), ""):
        raise PullRefused(problem)
    if asked[way] not in sources.names(way):
        raise PullRefused(unknown(wanted[0]))
    return wanted


def _texts(name: str, values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise PullRefused(f"{name} must be a list of texts")
    return values


class Fetching:
    """One study that is wanted, or several of one number, on the way here. held: by UID, how many
    instances of each were here before it was first fetched."""

    def __init__(self, sources: Sources, wanted: Wanted, held: dict[str, int]) -> None:
        self._sources = sources
        self._wanted = wanted
        self._found: list[Found] = []  # empty: not asked yet
        self._fetched = 0
        self._orthanc_job = ""
        self._held = held
        self.brought_nothing = True  # all that has come so far was here already

    def find(self) -> bool:
        """Ask for it, unless that is done; whether it was asked now. Raises as step() does."""
        if self._found:
            return False
        self._found = self._sources.find(self._wanted)
        for one in self._found:
            if one.uid not in self._held:
                self._held[one.uid] = self._sources.count_here(one)
        return True

    def step(self) -> list[str] | None:
        """After find: Orthanc's ids of the studies once all are here, None where there is more to
        do. NotPulled, or NotPulledYet where it may pass."""
        if self._fetched == len(self._found):
            return [study for one in self._found for study in self._sources.studies_here(one)]
        one = self._found[self._fetched]
        if not self._orthanc_job:
            self._orthanc_job = self._sources.fetch(self._wanted, one)
        elif self._sources.has_fetched(self._wanted, one, self._orthanc_job):
            self._fetched += 1
            self.brought_nothing &= self._sources.count_here(one) == self._held[one.uid]
            self._orthanc_job = ""
        return None


class Held:
    """What was here (see Fetching) of the study at one place in the list of those wanted."""

    def __init__(self, done: int = 0, counts: Mapping[str, int] | None = None) -> None:
        self._done = done
        self._counts = dict(counts or {})

    def at(self, done: int) -> dict[str, int]:
        """To be filled in; empty once the study there is another."""
        if done != self._done:
            self._done, self._counts = done, {}
        return self._counts


class Pull(Paced):
    """What is asked for while it runs is added at its end."""

    def __init__(
        self,
        orthanc: Orthanc,
        queue: JobQueue,
        intake: Intake,
        sources: Sources,
        series_filter: SeriesFilter,
        pace: Pace,
    ) -> None:
        super().__init__("pull", orthanc, queue, intake, Door.ARRIVED, pace)
        self._sources = sources
        self._filter = series_filter
        self._wanted: list[Wanted] = []
        self._failed: list[Failed] = []
        self._here: list[Wanted] = []  # nothing of these came that was not here already
        self._fetching: Fetching | None = None  # of the study at `done`
        self._held = Held()
        self._attempts = 0
        self._reason = ""  # why the study at `done` is not here yet

    def restore(self) -> None:
        """Take up what was not done; StateUnreadable where what is kept is not ours."""
        kept = read_pull(self._orthanc)
        if kept:
            self._place, self._wanted = kept.place, kept.wanted
            self._failed, self._here = kept.failed, kept.here
            self._held = Held(kept.place.done, kept.held)

    def ask(self, asked: Mapping[str, Any]) -> int:
        """Begin with the studies of a body, or add those that are not to come anyway; returns how
        many these are. PullRefused: see wanted_studies, and where they are too many."""
        wanted = wanted_studies(self._sources, asked)
        with self._lock:
            before = self._wanted if self._is_running else []
            left = before[self._place.done :] if self._place else []
            new = [one for one in wanted if one not in left]
            if len(before) + len(new) > MAX_STUDIES:
                raise PullRefused(
                    f"a pull takes at most {MAX_STUDIES} studies: ask for the rest when it is done"
                )
            keep_wanted(self._orthanc, [*before, *new])
            self._wanted = [*before, *new]
            if not self._is_running:
                self._failed, self._here, self._held = [], [], Held()
                self._start_over()
                self._begin()
        self.thread.wake()
        return len(new)

    def show(self) -> dict[str, Any] | None:
        """The last pull, None where there never was one."""
        with self._lock:
            place = self._place
            if place is None:
                return None
            told = {
                "Failed": len(self._failed),
                "AlreadyHere": len(self._here),
                "Reason": self._reason,
            }
            return self._shown(place) | told

    def show_all(self) -> dict[str, Any]:
        """With what failed, what was here already, and whom one may ask."""
        sources = [{str(way): name} for way in Way for name in self._sources.names(way)]
        with self._lock:
            return {
                "Pull": self.show(),
                "Failures": [one.as_json() for one in self._failed],
                "AlreadyHere": [one.as_json() for one in self._here],
                "Sources": sources,
            }

    def forget(self, before: datetime) -> int:
        """The numbers of a pull that began before then, unless it still runs; returns how many."""
        with self._lock:
            if not self._place or self._is_running or self._place.created >= before:
                return 0
            count = len(self._wanted)
            forget_pull(self._orthanc)
            self._place, self._wanted, self._failed, self._here = None, [], [], []
        return count

    def _count(self) -> int:
        return len(self._wanted)

    def _open(self, place: Place) -> list[str] | float:
        with self._lock:
            if self._place is not place:
                return 0.0
            wanted = self._wanted[place.done]
            held = self._held.at(place.done)
            fetching = self._fetching or Fetching(self._sources, wanted, held)
            self._fetching = fetching
        try:
            if fetching.find():
                self._keep_held(place)
            studies = fetching.step()
            series = studies and self._admitted(studies)
        except NotPulled as error:
            return self._note_failure(place, wanted, error)
        if series is None:
            return LOOK_S
        with self._lock:
            if self._fetching is fetching:
                if fetching.brought_nothing and wanted not in self._here:
                    self._here.append(wanted)
                self._start_over()
        return series

    def _keep_held(self, place: Place) -> None:
        """Before anything comes: after a restart it would count as what was here."""
        with self._lock:
            if self._place is place:
                self._keep(place)

    def _admitted(self, studies: list[str]) -> list[str]:
        series = [one for study in studies for one in self._filter.wanted(study)]
        if not series:
            raise NotPulled("it came, but no series of it passes the settings (see filter/test)")
        return series

    def _note_failure(self, place: Place, wanted: Wanted, error: NotPulled) -> list[str] | float:
        with self._lock:
            if self._place is not place or not self._is_running:
                return 0.0
            attempts = self._attempts + 1
            self._start_over()
            if isinstance(error, NotPulledYet) and attempts < _ATTEMPTS:
                self._attempts, self._reason = attempts, str(error)
                return growing_wait_s(attempts - 1)
            self._orthanc.log_error(f"study {place.done + 1} of the pull is left out: {error}")
            self._failed.append(Failed(wanted, str(error)))
        return []

    def _start_over(self) -> None:
        self._fetching, self._attempts, self._reason = None, 0, ""

    def _keep(self, place: Place) -> None:
        held = self._held.at(place.done)
        keep_pull_place(self._orthanc, place, self._failed, self._here, held)
