"""Everything that the host refuses or cannot do, as one tree.

HostError
  Unknown             nothing has this id
    UnknownJob
    UnknownDelivery
  Refused             what is asked for cannot be had, however often one asks
    NotAdmitted       the settings do not admit the series
    BackfillRefused   the studies are not named as they must be, or are too many
    PullRefused       so are those that another server is to give, or there is no such server
    ReviewRefused     what a person decided is not said as it must be
    CutAskedBadly     a liver is to be cut in a way that leaves no parts, or is no way
    NotShown          there is no such outline, or the slices do not say where they lie
  Conflict            what is asked for does not fit how things stand
    NoModelYet        nobody can tell before a model is loaded
    NotAllowed        the state of a job, a delivery or the backfill does not allow it
    NoResult          there is no standing result to work with
  NotRunning          no job can run before the settings are mended
  Busy                others ask for the same already; later it can be had
  EngineUnavailable   the child process did not come up
  EngineGone          the child process ended or was ended
  JobFailed           this attempt failed; another one may succeed
  StoredElsewhere     an object does not belong to the study of its CT; nothing was kept
  NothingStored       what somebody asked for of an outline could not be written or stored
  NotCompared         two outlines could not be compared, and never can be
  GivesWay            the second model's outline can wait
  CannotSend          Orthanc could not even begin to send
  NotPulled           another server does not give a study, however often it is asked
    NotPulledYet      this time it does not
  NotOurs             what is kept in Orthanc is not what orthanc-liver writes there
  StateUnreadable     so is the state of the whole server, and no job may run
  OrthancError        Orthanc could not do what it was asked (server/api.py)
    Missing           Orthanc has no such resource
    BadFile           Orthanc is well, but not one of the files
  ServerStopping      Orthanc is going down and must not be called (server/api.py)

What makes an activity impossible is LiverError's ActivityRefused. web/routes.py alone says which
HTTP status each of them is.
"""

from __future__ import annotations

import traceback
from pathlib import Path

_OURS = str(Path(__file__).parents[1])


class HostError(Exception):
    """str(error) is one sentence for a person: what is wrong, what to do. No patient data."""


class Unknown(HostError):
    """Nothing has this id."""


class UnknownJob(Unknown):
    """There is no such job."""


class UnknownDelivery(Unknown):
    """There is no such delivery."""


class Refused(HostError):
    """What is asked for cannot be had, however often one asks."""


class NotAdmitted(Refused):
    """The settings do not admit the series."""


class BackfillRefused(Refused):
    """The studies are not named as they must be, or are too many."""


class PullRefused(Refused):
    """The studies are not named as they must be or too many, or there is no such server."""


class ReviewRefused(Refused):
    """What a person decided is not said as it must be."""


class CutAskedBadly(Refused):
    """A liver is to be cut in a way that leaves no parts, or is no way."""


class NotShown(Refused):
    """There is no such outline, or the slices do not say where they lie."""


class Conflict(HostError):
    """What is asked for does not fit how things stand."""


class NoModelYet(Conflict):
    """Nobody can tell before a model is loaded whether it would bring anything new."""


class NotAllowed(Conflict):
    """The state of a job, a delivery or the backfill does not allow it."""


class NoResult(Conflict):
    """There is no standing result to work with."""


class NotRunning(HostError):
    """No job can run before the settings are mended."""


class Busy(HostError):
    """Others ask for the same already; later it can be had."""


class EngineUnavailable(HostError):
    """The child process did not come up."""


class EngineGone(HostError):
    """The child process ended or was ended; str(error) says how."""


class JobFailed(HostError):
    """This attempt failed; another one may succeed."""


class StoredElsewhere(HostError):
    """An object does not belong to the study of its CT; nothing was kept."""


class NothingStored(HostError):
    """What somebody asked for of an outline, documents or parts, could not be written or stored."""


class NotCompared(HostError):
    """An outline is as it is, and cannot be compared; str(error) says why."""


class GivesWay(HostError):
    """The second model's outline can wait."""


class CannotSend(HostError):
    """Orthanc could not even begin to send."""


class NotPulled(HostError):
    """Another server does not give a study, however often it is asked."""


class NotPulledYet(NotPulled):
    """It does not this time."""


class NotOurs(HostError):
    """What is kept in Orthanc is not what orthanc-liver writes there; never tells a value."""


class StateUnreadable(HostError):
    """The state of the whole server is not ours, or of a newer version; it is left as it is."""


def fault_of_ours(error: Exception) -> str:
    """What may be told of an error that nobody foresaw, whose own text may name the patient."""
    places = traceback.extract_tb(error.__traceback__)
    place = [one for one in places if one.filename.startswith(_OURS)][-1]
    return f"a fault of the plugin: {type(error).__name__} at {place.filename}:{place.lineno}"
