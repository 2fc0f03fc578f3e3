"""A Celery worker for one case at a time.

Celery keeps the connection, the child that works (a fork), cancelling and Flower's events. Which
case is the next is asked for here, whenever the child is free: a consumer of three queues would
hold one case of each, which others could have begun, and take them in turn instead of in order.

While the child computes, one case of the backfill alone is held, so that its files can be fetched
meanwhile. People's cases and arrivals are never held: any worker that is free takes them, this one
before the case that it holds.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import time
import uuid
import warnings
from collections.abc import Callable
from typing import Any

from celery import Celery, bootsteps
from celery.exceptions import SecurityWarning, WorkerShutdown
from celery.signals import worker_process_init
from celery.worker import state
from celery.worker.control import Panel
from kombu.message import Message

from orthanc_liver.cluster.ahead import Ahead
from orthanc_liver.cluster.answers import WORKER, Answers
from orthanc_liver.cluster.broker import (
    BROKER_ERRORS,
    LOOK,
    NEVER_SERVES,
    TASK,
    Access,
    declare_cases,
    new_app,
    not_serving,
    refuse_what_never_serves,
    worker_queue,
)
from orthanc_liver.cluster.work import Means, Work
from orthanc_liver.engine.cluster_case import PROTOCOL
from orthanc_liver.host.errors import EngineUnavailable
from orthanc_liver.liver_errors import LiverError

_log = logging.getLogger(__name__)

# Whether the child is free is asked of ourselves; whether a case waits, of the broker. What ended
# as it should says so itself.
_IS_FREE_EVERY_S = 0.1
# In between it is told of each new case, unless the word is lost.
_IDLE_LOOKS_EVERY_S = 0.25
# What waits at two of these looks is waiting for a worker that is busy, as this one is.
_AHEAD_LOOKS_EVERY_S = 1.0


class NameRefused(LiverError):
    """No Orthanc would count a worker of this name."""


def serve(access: Access, means: Means, name: str = "") -> int:
    """Take cases until stopped; returns the exit status. BrokerRefused, NameRefused."""
    node = _node(name or str(os.getpid()))
    _warn_root()
    refuse_what_never_serves(access, means.model_sha256)
    app = new_app(access)
    app.conf.task_queues = [worker_queue(means.model_sha256)]
    app.conf.worker_hijack_root_logger = False
    ahead = Ahead(means.orthancs)
    _add_task(app, Work(means, Answers(app, node), ahead), ahead)
    ours = {"access": access, "model_sha256": means.model_sha256, "ahead": ahead}
    app.steps["consumer"].add(type("TakeInOrder", (TakeInOrder,), ours))
    worker = app.Worker(
        hostname=node,
        pool="prefork",
        concurrency=1,
        loglevel="INFO",
        task_events=True,
        without_gossip=True,
        quiet=True,
    )
    _log.info("cases of version %d of the protocol are taken, of no other", PROTOCOL)
    worker.start()
    ahead.close()
    return int(worker.exitcode or 0)


def _warn_root() -> None:
    """Celery names an option that the command has not."""
    warnings.filterwarnings("ignore", category=SecurityWarning)
    if os.geteuid() == 0:
        _log.warning("the worker runs as root and need not: give it a user, as docs/SCALE.md does")


def _node(name: str) -> str:
    """The name among all workers, which Orthancs count by."""
    node = f"{name}@{socket.gethostname()}"
    if re.fullmatch(WORKER, node):
        return node
    allowed = "letters, digits, _, -, . and @ alone, and at most 128 of them"
    raise NameRefused(f"a worker's name, {node!r} with its machine's, must hold {allowed}")


def _add_task(app: Celery, work: Work, ahead: Ahead) -> None:
    def segment(task: Any, text: str) -> None:
        work.do(text, task.request.id)

    app.task(segment, name=TASK, bind=True)

    def warm(**_: Any) -> None:
        ahead.listen()
        try:
            work.warm()
        except EngineUnavailable as error:  # the first case tells it again
            _log.error("%s", error)

    worker_process_init.connect(warm, weak=False)


class TakeInOrder(bootsteps.StartStopStep):  # type: ignore[misc] # Celery has no types
    """People's cases first, then those that arrived, then older ones."""

    access: Access
    model_sha256 = ""
    ahead: Ahead

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        try:
            self._queues = declare_cases(consumer.connection.default_channel, self.model_sha256)
        except NEVER_SERVES as error:
            _log.error("%s", not_serving(self.access, error))
            raise WorkerShutdown(1) from None
        self._take_up = consumer.create_task_handler()
        self._soon = consumer.call_soon
        self._if_lost = consumer.connection.connection_errors
        self._look_at_s = 0.0
        self._held: Message | None = None  # what was held the broker hands out again
        self._hold(None)
        self._is_alone = False
        Panel.register(name=LOOK, visible=False)(lambda *_, **__: self._soon(self._hear))
        self._timer = consumer.timer.call_repeatedly(_IS_FREE_EVERY_S, self._take)
        self._is_open = True

    def stop(self, consumer: Any) -> None:
        self._is_open = False
        self._timer.cancel()

    def _hear(self) -> None:
        """There is a new case, or nothing more to do with the last one."""
        self._look_at_s = 0.0
        if self._is_open:
            self._take()

    def _then_hear(self, settle: Callable[..., None]) -> Callable[..., None]:
        def settle_and_hear(*words: Any, **options: Any) -> None:
            settle(*words, **options)
            self._soon(self._hear)

        return settle_and_hear

    def _take(self) -> None:
        try:
            self._let_go_of_the_cancelled()
            if state.reserved_requests:
                self._look_at_s = 0.0
                self._read_ahead()
            elif time.monotonic() >= self._look_at_s:
                self._look_at_s = time.monotonic() + _IDLE_LOOKS_EVERY_S
                self._take_first()
        except BROKER_ERRORS as error:
            # Celery connects anew where the connection is lost, but knows not of a channel.
            _log.error("no case can be taken: %s", type(error).__name__)
            if not isinstance(error, self._if_lost):
                raise WorkerShutdown(1) from None

    def _take_first(self) -> None:
        *before_backfill, backfill = self._queues
        for queue in before_backfill:
            if message := _got(queue):
                break
        else:
            message = self._held or _got(backfill)
        if message is None:
            return
        self._look_at_s = 0.0  # it may be none for us
        self._ahead_at_s, self._is_crowded = time.monotonic() + _AHEAD_LOOKS_EVERY_S, False
        # Nothing is held beside a case that a worker was lost over: it would be lost with it.
        self._is_alone = bool(message.delivery_info.get("redelivered"))
        was_held = message is self._held
        message.ack_log_error = self._then_hear(message.ack_log_error)  # type: ignore[method-assign]
        self._begin(message)
        if was_held:
            self._held = None
            if not state.reserved_requests:  # it was cancelled meanwhile
                self._hold(None)

    def _begin(self, message: Message) -> None:
        """Hand it to the child; what Celery cannot, is put aside."""
        try:
            self._take_up(message)
        except BROKER_ERRORS:
            raise
        except Exception as error:  # noqa: BLE001 a worker does not end by a message
            _log.error("a case was put aside: %s", type(error).__name__)
            state.reserved_requests.clear()
            if not message.acknowledged:
                message.reject()

    def _read_ahead(self) -> None:
        if self._held or self._is_alone or time.monotonic() < self._ahead_at_s:
            return
        self._ahead_at_s = time.monotonic() + _AHEAD_LOOKS_EVERY_S
        backfill = self._queues[-1]
        was_crowded = self._is_crowded
        self._is_crowded = backfill.queue_declare(passive=True).message_count > 0
        if was_crowded and self._is_crowded:
            self._hold(_got(backfill))

    def _let_go_of_the_cancelled(self) -> None:
        """At once: what goes before it may have no end, and meanwhile its images fill memory."""
        held = self._held
        if held and held.headers["id"] in state.revoked:
            self._hold(None)
            self._take_up(held)  # Celery tells of it and drops it

    def _hold(self, message: Message | None) -> None:
        self._held = message
        self._ahead_at_s, self._is_crowded = 0.0, False
        self.ahead.tell(_text(message) if message else "")


def _got(queue: Any) -> Message | None:
    """The next case; whatever else lies there is put aside."""
    channel = queue.channel
    while raw := channel.basic_get(queue.name, no_ack=False):
        if message := _case_of(raw):
            return message
        _log.error("a message that is no case was put aside")
        channel.basic_reject(raw.delivery_tag, requeue=False)
    return None


def _case_of(raw: Any) -> Message | None:
    """The message with what ours hold alone; None where it is not one.

    Celery would heed much more: time limits, other tasks to call, when to begin, compression.
    """
    try:
        [[text], *_] = json.loads(raw.body)
        text.encode()  # half a character cannot be
        headers = {name: raw.headers[name] for name in ("task", "id", "argsrepr")}
        is_ours = headers["task"] == TASK and str(uuid.UUID(headers["id"])) == headers["id"]
    except Exception:  # noqa: BLE001 whatever somebody sent
        return None
    if not is_ours or not isinstance(headers["argsrepr"], str):
        return None
    return Message(
        json.dumps([[text], {}, {}]),
        raw.delivery_tag,
        "application/json",
        "utf-8",
        raw.delivery_info,
        headers={"lang": "py", **headers},
        accept={"application/json"},
        channel=raw.channel,
    )


def _text(message: Message) -> str:
    [[text], *_] = message.decode()
    return str(text)
