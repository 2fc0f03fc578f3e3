"""How much of the processors a container or a service may use, which Linux tells in files."""

from __future__ import annotations

import math
import os
from pathlib import Path

_MEMBERSHIP = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")


def usable_cores(membership: Path = _MEMBERSHIP, mounted: Path = _MOUNTED) -> int:
    """The cores that this process may run on, and no more than its CPU quota is worth."""
    quotas = [_quota(folder) for folder in _groups(membership, mounted)]
    worth = [math.ceil(one) for one in quotas if one]
    return max(1, min([len(os.sched_getaffinity(0)), *worth]))


def _groups(membership: Path, mounted: Path) -> list[Path]:
    """The folders of this process' groups and of those that they lie in; version 2 and 1."""
    found = []
    for line in _read(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "cpu", "cpu,cpuacct"):
            place = mounted / controllers
            inner = place / path.strip("/")
            found += [inner, *(one for one in inner.parents if one.is_relative_to(place))]
    return found


def _quota(group: Path) -> float | None:
    """In cores; None without one."""
    words = (_read(group / "cpu.max") or _version_1(group)).split()
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdigit() else None


def _version_1(group: Path) -> str:
    return f"{_read(group / 'cpu.cfs_quota_us')} {_read(group / 'cpu.cfs_period_us')}"


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
