"""The real inference process, spoken to over its pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pydicom
import pytest
import torch

from liver_unet.fallback import Loaded
from liver_unet.segmenter import Segmenter
from liver_unet.volume import Volume
from orthanc_liver.engine import inference_process
from orthanc_liver.engine.inference_process import Engine
from orthanc_liver.engine.protocol import (
    STAGES,
    Done,
    Failed,
    Instance,
    Message,
    Order,
    Outcome,
    Preview,
    Progress,
    Ready,
    ResultObject,
    Unsure,
    read,
    write,
)
from orthanc_liver.host.settings import Settings
from tests.support.ct_writer import to_bytes, write_ct_series
from tests.support.patience import patience_s
from tests.support.phantom import abdomen
from tests.support.threshold_engine import on_cpu, with_liver

CHECKOUT = Path(__file__).resolve().parents[3]


class Child:
    """The engine as the host starts it."""

    def __init__(self, *arguments: str) -> None:
        path = os.pathsep.join([str(CHECKOUT / "plugin"), str(CHECKOUT / "model")])
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "orthanc_liver.engine.inference_process",
                "--device",
                "cpu",
                *arguments,
            ],
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        self.stdin = cast(BinaryIO, self.process.stdin)
        self.stdout = cast(BinaryIO, self.process.stdout)

    def ends(self, timeout_s: float) -> int:
        """Its exit code, once its pipes are closed."""
        with self.process:
            self.stdin.close()
            return self.process.wait(patience_s(timeout_s))

    def job(self, instances: list[bytes]) -> list[Message]:
        """Every message that comes back, the last one Done."""
        write(self.stdin, Order("j", len(instances), Settings().for_engine()))
        for instance in instances:
            write(self.stdin, Instance("j", instance))
        messages = [read(self.stdout)]
        while not isinstance(messages[-1], Done):
            messages.append(read(self.stdout))
        return messages

    def done(self, instances: list[bytes]) -> Done:
        """The last message of the job."""
        [done] = [one for one in self.job(instances) if isinstance(one, Done)]
        return done


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    engine = Child()
    assert isinstance(read(engine.stdout), Ready)
    yield engine
    assert engine.ends(10) == 0


@pytest.fixture(scope="module")
def patient() -> list[bytes]:
    phantom = abdomen((44, 130, 170), (6.5, 2.5, 2.3))
    return [to_bytes(instance) for instance in write_ct_series(phantom.volume)]


def test_a_job_gives_the_same_object_whenever_and_in_whatever_order(
    child: Child, patient: list[bytes]
) -> None:
    first = child.job(patient)
    again = child.job(patient[::-1])
    uids = []
    for messages in (first, again):
        by_type = {type(one): one for one in messages}
        done, preview, written = by_type[Done], by_type[Preview], by_type[ResultObject]
        assert isinstance(done, Done)
        assert done.outcome is Outcome.SEGMENTED
        assert done.report
        assert done.report["liver_ml"] > 500
        assert isinstance(preview, Preview)
        assert preview.content.startswith(b"\x89PNG")
        assert isinstance(written, ResultObject)
        places = done.report["look_at"]
        assert [type(one) for one in messages].count(Unsure) == bool(places)
        if places:
            told = json.loads(cast(Unsure, by_type[Unsure]).content)
            assert told["Job"] == done.job
            shaded = {int(number) + 1 for number in told["Slices"]}
            named = {n for one in places for n in range(one["slices"][0], one["slices"][1] + 1)}
            assert shaded <= named
            assert len(shaded) >= len(named) / 2
        uids.append(pydicom.dcmread(BytesIO(written.content)).SOPInstanceUID)
    assert uids[0] == uids[1]
    stages = [one.stage for one in first if isinstance(one, Progress)]
    assert list(dict.fromkeys(stages)) == list(STAGES)


def test_a_refused_series_leaves_the_process_ready_for_the_next(
    child: Child, patient: list[bytes]
) -> None:
    done = child.done([b"nonsense", *patient])
    assert done.outcome is Outcome.REFUSED
    assert done.reason
    done = child.done(patient[:5])
    assert done.outcome is Outcome.REFUSED
    assert "5 slices" in done.reason


def test_an_empty_table_holds_no_liver(child: Child) -> None:
    hu = np.full((30, 90, 120), -1000, dtype=np.int16)
    hu[:, 80:84, 10:110] = 150
    hu += np.random.default_rng(7).integers(-9, 10, hu.shape, dtype=np.int16)
    grid = abdomen((30, 90, 120), (8.0, 3.0, 3.0)).volume.grid
    *others, done = child.job([to_bytes(i) for i in write_ct_series(Volume(hu, grid))])
    assert not [one for one in others if isinstance(one, ResultObject)]
    assert isinstance(done, Done)
    assert done.outcome is Outcome.NO_LIVER


def test_the_process_gives_way_to_orthanc(child: Child) -> None:
    ours = os.getpriority(os.PRIO_PROCESS, 0)  # of a test that itself gives way, too
    assert os.getpriority(os.PRIO_PROCESS, child.process.pid) == ours + 10
    group = Path(f"/proc/{child.process.pid}/autogroup")
    if group.exists():
        assert group.read_text().endswith("nice 10\n")


def test_weights_that_are_not_there_are_told_instead_of_ready(tmp_path: Path) -> None:
    engine = Child("--weights", str(tmp_path))
    failed = read(engine.stdout)
    assert isinstance(failed, Failed)
    assert "cannot be read" in failed.reason
    assert engine.ends(10) == 0


def test_the_process_is_gone_when_nobody_is_left_to_work_for(patient: list[bytes]) -> None:
    engine = Child()
    read(engine.stdout)
    write(engine.stdin, Order("j", len(patient), Settings().for_engine()))
    engine.ends(5)


def two_orders() -> BytesIO:
    """Of one series, as jobs "first" and "second"."""
    instances = [to_bytes(instance) for instance in write_ct_series(with_liver())]
    orders = BytesIO()
    for job in ("first", "second"):
        write(orders, Order(job, len(instances), Settings().for_engine()))
        for instance in instances:
            write(orders, Instance(job, instance))
    orders.seek(0)
    return orders


def done_in(answers: BytesIO) -> list[Done]:
    answers.seek(0)
    messages = []
    while answers.tell() < len(answers.getvalue()):
        messages.append(read(answers))
    return [one for one in messages if isinstance(one, Done)]


@pytest.mark.parametrize(
    ("loaded", "later_s", "is_last"),
    [
        (Loaded(on_cpu(), "cpu"), 1e6, False),
        (Loaded(on_cpu(), "cpu, as the GPU has only 43 MiB free", in_place_of_gpu=True), 10, False),
        (Loaded(on_cpu(), "cpu, as the GPU has only 43 MiB free", in_place_of_gpu=True), 1e4, True),
    ],
    ids=["cpu as asked for", "soon after", "much later"],
)
def test_a_full_gpu_is_tried_again_later_by_a_fresh_process(
    monkeypatch: pytest.MonkeyPatch, loaded: Loaded, later_s: float, is_last: bool
) -> None:
    answers = BytesIO()
    engine = Engine(two_orders(), answers, loaded)
    began_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: began_s + later_s)
    engine.serve()
    done = done_in(answers)
    assert [one.job for one in done] == (["first"] if is_last else ["first", "second"])
    assert [one.is_last for one in done] == [is_last] * len(done)
    assert {one.outcome for one in done} == {Outcome.SEGMENTED}


@pytest.mark.parametrize(
    "says", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 4000 bytes")]
)
def test_a_series_that_memory_is_too_small_for_leaves_the_process_for_the_next(
    monkeypatch: pytest.MonkeyPatch, says: Exception
) -> None:
    def segment(*_: object) -> None:
        raise says

    monkeypatch.setattr(Segmenter, "segment", segment)
    answers = BytesIO()
    Engine(two_orders(), answers, Loaded(on_cpu(), "cpu")).serve()
    done = done_in(answers)
    assert [one.outcome for one in done] == [Outcome.FAILED] * 2
    assert done[1].reason.startswith("this machine has too little memory for it")


def test_an_idle_process_gives_the_memory_back_that_jobs_have_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_back, of_cards = threading.Event(), threading.Event()
    monkeypatch.setattr(inference_process, "_HOLD_MEMORY_S", 0.01)
    monkeypatch.setattr(inference_process, "give_back_freed_memory", given_back.set)
    monkeypatch.setattr(torch.cuda, "empty_cache", of_cards.set)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as orders:
        engine = Engine(orders, BytesIO(), Loaded(on_cpu(), "cpu"))
        serving = threading.Thread(target=engine.serve, daemon=True)
        serving.start()
        assert given_back.wait(patience_s(10))
        assert of_cards.wait(patience_s(10))
        os.close(writing)
        serving.join()
