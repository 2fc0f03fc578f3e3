"""A CPU quota counts as cores, wherever above this process it was set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from orthanc_liver.engine import cores
from orthanc_liver.engine.cores import usable_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def cores_with(folder: Path, membership: str, files: Mapping[str, str]) -> int:
    (folder / "membership").write_text(membership)
    for name, content in files.items():
        (folder / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup" / name).write_text(content)
    return usable_cores(folder / "membership", folder / "cgroup")


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "5000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "6400000 100000\n"}, 8),
        (
            "0::/system.slice/orthanc.service\n",
            {
                "system.slice/cpu.max": "300000 100000\n",
                "system.slice/orthanc.service/cpu.max": "max 100000\n",
            },
            3,
        ),
        (
            "0::/system.slice/orthanc.service\n",
            {"system.slice/orthanc.service/cpu.max": "400000 100000\n", "cpu.max": "max 100000\n"},
            4,
        ),
        (
            "4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n",
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "350000\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            4,
        ),
        (
            "3:cpu,cpuacct:/\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            8,
        ),
        ("", {}, 8),
    ],
)
def test_the_least_of_quotas_and_cores_counts(
    membership: str, files: Mapping[str, str], expected: int, tmp_path: Path
) -> None:
    assert cores_with(tmp_path, membership, files) == expected


def test_this_machine_can_be_asked() -> None:
    assert 1 <= cores.usable_cores() <= 8
