"""A Celery worker for one case at a time.

Celery keeps the connection, the child that works (a fork), cancelling and Flower's events. Which
case is the next is asked for here, whenever the child is free: a consumer of three queues would
hold one case of each, which others could have begun, and take them in turn instead of in order.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import Any

from celery import Celery, bootsteps
from celery.exceptions import WorkerShutdown
from celery.signals import worker_process_init
from celery.worker import state

from orthanc_liver.cluster.answers import Answers
from orthanc_liver.cluster.broker import (
    BROKER_ERRORS,
    TASK,
    Access,
    declare_cases,
    new_app,
    worker_queue,
)
from orthanc_liver.cluster.work import Means, Work
from orthanc_liver.host.errors import EngineUnavailable

_log = logging.getLogger(__name__)

# Whether the child is free is asked of ourselves; whether a case waits, of the broker.
_IS_FREE_EVERY_S = 0.05
_IDLE_LOOKS_EVERY_S = 0.25


def serve(access: Access, means: Means, name: str = "") -> int:
    """Take cases until stopped; returns the exit status."""
    app = new_app(access)
    node = f"{name or os.getpid()}@{socket.gethostname()}"
    app.conf.task_queues = [worker_queue(means.model_sha256)]
    app.conf.worker_hijack_root_logger = False
    _add_task(app, Work(means, Answers(app)))
    of_model = {"model_sha256": means.model_sha256}
    app.steps["consumer"].add(type("TakeInOrder", (TakeInOrder,), of_model))
    worker = app.Worker(
        hostname=node,
        pool="prefork",
        concurrency=1,
        loglevel="INFO",
        task_events=True,
        without_gossip=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _add_task(app: Celery, work: Work) -> None:
    def segment(task: Any, text: str) -> None:
        work.do(text, task.request.id)

    app.task(segment, name=TASK, bind=True)

    def warm(**_: Any) -> None:
        try:
            work.warm()
        except EngineUnavailable as error:  # the first case tells it again
            _log.error("%s", error)

    worker_process_init.connect(warm, weak=False)


class TakeInOrder(bootsteps.StartStopStep):  # type: ignore[misc] # Celery has no types
    """People's cases first, then those that arrived, then older ones."""

    model_sha256 = ""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        self._queues = declare_cases(consumer.connection.default_channel, self.model_sha256)
        self._take_up = consumer.create_task_handler()
        self._timer = consumer.timer.call_repeatedly(_IS_FREE_EVERY_S, self._take)
        self._look_at_s = 0.0

    def stop(self, consumer: Any) -> None:
        self._timer.cancel()

    def _take(self) -> None:
        if state.reserved_requests:
            self._look_at_s = 0.0
        elif time.monotonic() >= self._look_at_s:
            self._look_at_s = time.monotonic() + _IDLE_LOOKS_EVERY_S
            self._take_first()

    def _take_first(self) -> None:
        try:
            for queue in self._queues:
                if message := queue.get(no_ack=False, accept=["json"]):
                    self._look_at_s = 0.0  # it may be none for us
                    self._take_up(message)
                    return
        except BROKER_ERRORS as error:
            # Celery connects anew where the connection is lost, but knows not of a channel.
            _log.error("no case can be taken: %s", type(error).__name__)
            if not isinstance(error, OSError):
                raise WorkerShutdown(1) from None
