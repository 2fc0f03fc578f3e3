"""Several Orthancs share the workers, and who waits most urgently is served first."""

from __future__ import annotations

from tests.cluster.conftest import Cluster, check_each_stored_once
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
