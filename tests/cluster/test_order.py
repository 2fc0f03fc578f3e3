"""Several Orthancs share the workers, and who waits most urgently is served first."""

from __future__ import annotations

import pytest

from tests.cluster.conftest import Cluster, Worker, check_each_stored_once
from tests.plugin.host.conftest import Host
from tests.support.patience import wait_for


def test_two_orthancs_share_three_workers(cluster: Cluster) -> None:
    hosts = [cluster.start_host("left"), cluster.start_host("right")]
    for name in ("one", "two", "three"):
        cluster.start_worker(name)
    before = len(cluster.engine.jobs())
    cluster.behave(seconds=1)
    series = [
        [host.upload(f"shared {name} {n}") for n in range(4)] for name, host in enumerate(hosts)
    ]
    for host, of_it in zip(hosts, series, strict=True):
        check_each_stored_once(host, of_it)
    cases = cluster.engine.jobs()[before:]
    assert len(cases) == 8
    assert len({case["pid"] for case in cases}) == 3


def test_people_then_arrivals_then_backfill(cluster: Cluster) -> None:
    host = cluster.start_host("orders", JobsAtOnce=8, Automatic=False, BackfillPauseSeconds=0)
    old = [host.upload(f"old {n}") for n in range(3)]
    studies = [host.orthanc.get(f"/series/{one}")["ParentStudy"] for one in old]
    arrived, asked = host.upload("arrived"), host.upload("asked for")

    def waiting() -> int:
        return int(host.orthanc.get("/liver/status")["Broker"]["Waiting"])

    for one in (*old, arrived, asked):
        host.stable(one)
    host.orthanc.post("/liver/backfill", {"Studies": studies})
    wait_for("the backfill's cases", lambda: waiting() == 3)
    host.segment(arrived)
    host.segment(asked, Force=True)
    wait_for("all cases", lambda: waiting() == 5)
    cluster.start_worker("one")
    check_each_stored_once(host, [*old, arrived, asked])
    ended = {one: host.jobs_of(one)[0]["CompletionTime"] for one in (*old, arrived, asked)}
    assert sorted(ended, key=ended.__getitem__) == [asked, arrived, *old]


def backfill_of(host: Host, *names: str) -> list[str]:
    """Series of a backfill, all of them at the broker."""
    series = [host.upload(one) for one in names]
    for one in series:
        host.stable(one)
    studies = [host.orthanc.get(f"/series/{one}")["ParentStudy"] for one in series]
    host.orthanc.post("/liver/backfill", {"Studies": studies})
    wait_for("the backfill's cases", lambda: waiting_of(host) == len(series))
    return series


def waiting_of(host: Host) -> int:
    """Cases that no worker has."""
    return int(host.orthanc.get("/liver/status")["Broker"]["Waiting"])


def with_one_read_ahead(cluster: Cluster, name: str) -> tuple[Host, list[str], Worker, str]:
    """An Orthanc with a backfill of four series, and a worker that is held at the first of them and
    has read the second, whose job is named last."""
    host = cluster.start_host(name, JobsAtOnce=8, Automatic=False, BackfillPauseSeconds=0)
    old = backfill_of(host, *(f"{name} {n}" for n in range(4)))
    before = len(cluster.engine.jobs())
    cluster.hold_cases()
    worker = cluster.start_worker("one")
    cluster.at_work(before)
    second = host.jobs_of(old[1])[0]["ID"]
    wait_for("the second", lambda: f"job {second} is read ahead" in worker.log())
    return host, old, worker, second


def test_of_a_backfill_the_next_is_read_ahead_and_an_arrival_still_goes_before_it(
    cluster: Cluster,
) -> None:
    before = len(cluster.engine.jobs())
    host, old, _, _ = with_one_read_ahead(cluster, "ahead")
    arrived = host.upload("arrives beside what is read ahead")
    host.stable(arrived)
    host.segment(arrived)
    wait_for("the arrival", lambda: waiting_of(host) == 3)
    cluster.let_go()
    check_each_stored_once(host, [*old, arrived])
    ended = {one: host.jobs_of(one)[0]["CompletionTime"] for one in (*old, arrived)}
    assert sorted(ended, key=ended.__getitem__) == [old[0], arrived, *old[1:]]
    assert len(cluster.engine.jobs()) - before == 5


@pytest.mark.parametrize("how", ["cancelled", "killed"])
def test_what_is_read_ahead_may_be_cancelled_and_outlives_its_worker(
    cluster: Cluster, how: str
) -> None:
    before = len(cluster.engine.jobs())
    host, old, worker, second = with_one_read_ahead(cluster, f"{how}-ahead")
    if how == "cancelled":
        host.orthanc.post(f"/liver/jobs/{second}/cancel")
        assert old.pop(1)
        third = host.jobs_of(old[1])[0]["ID"]
        wait_for("the next one", lambda: f"job {third} is read ahead" in worker.log())
    else:
        worker.kill9()
        cluster.start_worker("two")
    cluster.let_go()
    check_each_stored_once(host, old)
    assert len(cluster.engine.jobs()) - before == (3 if how == "cancelled" else 5)


def test_a_worker_that_is_stopped_finishes_its_case_and_gives_back_what_it_read_ahead(
    cluster: Cluster,
) -> None:
    before = len(cluster.engine.jobs())
    host, old, worker, _ = with_one_read_ahead(cluster, "stopped")
    worker.process.terminate()
    wait_for("its heed", lambda: "Warm shutdown" in worker.log())
    cluster.let_go()
    wait_for("the worker's end", lambda: worker.process.poll() is not None, timeout_s=60)
    assert len(cluster.engine.jobs()) - before == 1
    check_each_stored_once(host, old[:1])
    cluster.start_worker("two")
    check_each_stored_once(host, old)
    assert len(cluster.engine.jobs()) - before == 4
