"""What a worker does with one case: fetch, compute in the inference process, answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from celery.exceptions import Reject

from orthanc_liver.cluster.ahead import Ahead
from orthanc_liver.cluster.answers import Answers, Whose, ending_of, failed
from orthanc_liver.cluster.beats import Beats
from orthanc_liver.cluster.fetching import CannotFetch, NotLetIn
from orthanc_liver.cluster.orthancs import Address
from orthanc_liver.engine.cluster_case import AnotherProtocol, Case, NoCase, read_case
from orthanc_liver.engine.protocol import (
    AboutAJob,
    Done,
    Instance,
    Order,
    Outcome,
    Progress,
    Ready,
)
from orthanc_liver.host.errors import EngineGone, EngineUnavailable
from orthanc_liver.host.jobs.engine_process import Deadline, EngineProcess
from orthanc_liver.liver_errors import LiverError

_log = logging.getLogger(__name__)

# A worker that can do none of them shall not go through all cases that wait, failing each.
_UNABLE_RESTS_S = 30.0


class NotSetUp(LiverError):
    """This worker is not set up for the case; str(error) says what is missing."""


@dataclass(frozen=True)
class Means:
    """command: what starts the inference process."""

    orthancs: Mapping[str, Address]
    command: Sequence[str]
    model_sha256: str


class Work:
    """Owns the inference process, which stays warm between two cases."""

    def __init__(self, means: Means, answers: Answers, ahead: Ahead) -> None:
        self._means = means
        self._answers = answers
        self._ahead = ahead
        self._engine: EngineProcess | None = None
        self._loaded: tuple[EngineProcess, Ready] | None = None

    def warm(self) -> EngineProcess:
        """The inference process, started unless it runs; does not wait for it to be ready."""
        engine = self._engine
        if not (engine and engine.alive):
            self._end_engine()
            engine = self._engine = EngineProcess(list(self._means.command))
        return engine

    def do(self, text: str, task: str) -> None:
        """Answer the Orthanc that asks; Reject where nobody can be told from the message."""
        try:
            case = read_case(text)
        except AnotherProtocol as other:
            if other.orthanc not in self._means.orthancs:
                raise Reject(str(other), requeue=False) from None
            _log.error("job %s: %s", other.job, other)
            whose = Whose(other.orthanc, other.key, task)
            self._answers.deliver(whose, [failed(other.job, str(other))])
            return
        except NoCase as rubbish:
            _log.error("a message was put aside: %s", rubbish)
            raise Reject(str(rubbish), requeue=False) from None
        whose = Whose(case.orthanc, case.key, task)
        began_s = time.monotonic()
        first = Progress(case.job, "read", 0.0)
        with Beats(lambda word: self._answers.mention(whose, word), first) as beats:
            messages = self._answer(case, beats)
        took_s = time.monotonic() - began_s
        self._answers.deliver(whose, messages, took_s)
        ending = ending_of(messages)
        _log.info("job %s: %s after %.1f s", case.job, ending and ending.outcome, took_s)
        if ending and ending.outcome is Outcome.FAILED:
            _log.error("job %s: %s", case.job, ending.reason)

    def _answer(self, case: Case, beats: Beats) -> list[AboutAJob]:
        try:
            return list(self._messages(case, beats))
        except (EngineUnavailable, NotLetIn, NotSetUp) as error:
            self._end_engine()
            time.sleep(_UNABLE_RESTS_S)
            return [failed(case.job, str(error))]
        except (CannotFetch, EngineGone) as error:
            self._end_engine()  # it may still wait for instances
            return [failed(case.job, str(error))]
        except Exception as error:  # noqa: BLE001 its own text may name the patient
            self._end_engine()
            return [failed(case.job, f"a fault of the worker: {type(error).__name__}")]
        finally:
            self._ahead.forget(case)  # it may have failed before its files were asked for

    def _messages(self, case: Case, beats: Beats) -> Iterator[AboutAJob]:
        address = self._means.orthancs.get(case.orthanc)
        if address is None:
            raise NotSetUp(f"the worker's orthancs file has no Orthanc {case.orthanc}: add it")
        engine = self.warm()
        if not self._is_ready_for(case, engine):
            raise NotSetUp(
                "the worker's model is not the one that was asked for: install the same weights "
                "where Orthanc runs and on the worker"
            )
        deadline = Deadline(case.limit_s, engine)
        try:
            self._feed(case, address, engine)
            yield from self._heard(beats, engine)
        except EngineGone:
            if not deadline.passed:
                raise
            self._end_engine()
            reason = f"it was stopped after JobTimeoutSeconds, {case.limit_s} s"
            yield failed(case.job, reason)
        finally:
            deadline.cancel()

    def _is_ready_for(self, case: Case, engine: EngineProcess) -> bool:
        if self._loaded is None or self._loaded[0] is not engine:
            self._loaded = engine, engine.wait_ready()
        return self._loaded[1].model_sha256 == case.model_sha256

    def _feed(self, case: Case, address: Address, engine: EngineProcess) -> None:
        engine.send(Order(case.job, len(case.instances), case.settings))
        files = self._ahead.files_of(case, address)
        try:
            for file in files:
                engine.send(Instance(case.job, file))
        finally:
            files.close()

    def _heard(self, beats: Beats, engine: EngineProcess) -> Iterator[AboutAJob]:
        while True:
            message = engine.receive()
            if isinstance(message, Progress):
                beats.note(message)
                continue
            yield message
            if isinstance(message, Done):
                if message.is_last:
                    self._end_engine()
                return

    def _end_engine(self) -> None:
        engine, self._engine = self._engine, None
        if engine:
            engine.close()
