"""What doctor looks at; each look comes to findings that say what to mend."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import urllib.error
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liver_unet import DEFAULT_WEIGHTS
from orthanc_liver import __version__
from orthanc_liver.cli.orthanc_configuration import OrthancConfiguration
from orthanc_liver.cli.rest import Rest
from orthanc_liver.host.errors import EngineUnavailable
from orthanc_liver.host.jobs.engine_process import EngineProcess
from orthanc_liver.host.server.orthanc_settings import read_orthanc_settings
from orthanc_liver.host.settings import Settings, read_settings

_LEAST_FREE_GIB = 5.0
_TIMEOUT_S = 30.0
_NVIDIA = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Finding:
    """about: what was looked at. mend: what to do, "" where nothing is."""

    about: str
    seen: str
    mend: str = ""


def look_at_configuration(
    configuration: OrthancConfiguration, place: Path
) -> tuple[Settings, list[Finding]]:
    """Whether Orthanc starts with it, names our script, and whether our settings are right."""
    settings, wrong = read_settings(configuration.content)
    sends = bool(settings.destinations) or settings.return_to_sender
    wrong += read_orthanc_settings(configuration.content, sends=sends).problems
    if problem := _problem_of_script(configuration.content.get("PythonScript")):
        wrong.append(problem)
    found = [
        Finding("configuration", str(place), problem)
        for problem in (*configuration.problems, *wrong)
    ]
    return settings, found or [Finding("configuration", f"{place} names the plugin's script")]


def _problem_of_script(script: Any) -> str:
    if not isinstance(script, str):
        return f'name the plugin\'s script: {{ "PythonScript": "{_our_script()}" }}'
    if not Path(script).is_file():
        return f"PythonScript is {script}, which is not there: name {_our_script()}"
    return ""


def _our_script() -> Path:
    return Path(__file__).resolve().parents[2] / "orthanc_plugin.py"


def look_at_weights() -> list[Finding]:
    """Whether the weights are those that their specs describe."""
    found = []
    for folder in (DEFAULT_WEIGHTS, DEFAULT_WEIGHTS / "coarse"):
        try:
            spec = json.loads((folder / "liver.json").read_bytes())
            content = (folder / "liver.safetensors").read_bytes()
        except (OSError, ValueError):
            found.append(Finding("weights", str(folder), "they are not whole: install again"))
            continue
        is_whole = hashlib.sha256(content).hexdigest() == spec["sha256"]
        mend = "" if is_whole else "they are not those of the spec: install again"
        found.append(Finding("weights", f"{spec['name']} {spec['sha256']}", mend))
    return found


def look_at_engine(settings: Settings) -> list[Finding]:
    """Start an inference process as the plugin does, and end it."""
    if settings.broker:
        return [Finding("engine", "workers compute: GET /liver/status says how the broker stands")]
    began = time.monotonic()
    try:
        engine = EngineProcess(settings.command)
    except EngineUnavailable as problem:
        return [Finding("engine", settings.command[0], str(problem))]
    try:
        ready = engine.wait_ready()
    except EngineUnavailable as problem:
        return [Finding("engine", settings.command[0], str(problem))]
    finally:
        engine.close()
    seen = f"ready after {time.monotonic() - began:.0f} s on {ready.device}"
    found = [Finding("engine", seen)]
    if _NVIDIA.exists() and ready.device.startswith("cpu") and settings.device != "cpu":
        found.append(
            Finding("GPU", "there is an NVIDIA driver", "install PyTorch's build for this GPU")
        )
    return found


def look_at_memory(settings: Settings, meminfo: str) -> list[Finding]:
    """meminfo: what Linux says in /proc/meminfo."""
    kib = {line.split(":")[0]: int(line.split()[1]) for line in meminfo.splitlines() if line}
    total_mib = kib["MemTotal"] // 1024
    limit_mib = settings.maximum_memory_mib
    mend = ""
    if total_mib < limit_mib:
        mend = f"MaximumMemoryMib is {limit_mib}: lower it, so that large series are refused"
    return [Finding("memory", f"{total_mib} MiB", mend)]


def look_at_disk(configuration: OrthancConfiguration) -> list[Finding]:
    """How much is free where Orthanc stores."""
    storage = Path(configuration.content.get("StorageDirectory", ""))
    if not storage.is_absolute():
        return []
    there = next(one for one in (storage, *storage.parents) if one.exists())
    free_gib = shutil.disk_usage(there).free / 2**30
    mend = "" if free_gib > _LEAST_FREE_GIB else "make room: a CT takes a quarter of a GiB"
    return [Finding("disk", f"{free_gib:.1f} GiB free in {storage}", mend)]


class Orthanc:
    """An Orthanc that runs, as it answers at its address. user: name:password, or ""."""

    def __init__(self, url: str, user: str) -> None:
        self._url = url.rstrip("/")
        self._rest = Rest(url, user)

    def look(self) -> Iterator[Finding]:
        """Whether it answers, has the plugin, and what the plugin says of itself."""
        try:
            system = self._get("/system")
            plugins = self._get("/plugins")
        except urllib.error.HTTPError as error:
            mend = f"it answers {error.code}"
            if error.code == 401:
                mend = "it asks for a user: give --user, and the password in ORTHANC_PASSWORD"
            yield Finding("Orthanc", self._url, mend)
            return
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            yield Finding("Orthanc", self._url, f"start it, or name it by --url ({reason})")
            return
        yield Finding("Orthanc", f"{system['Version']} at {self._url}")
        if "python" not in plugins:
            yield Finding("plugin", "Orthanc has no Python", "install orthanc-python")
            return
        try:
            yield from _of_status(self._get("/liver/status"))
        except (OSError, ValueError):
            yield Finding("plugin", "not loaded", "name its script and restart Orthanc")

    def _get(self, path: str) -> Any:
        return json.loads(self._rest.get(path, _TIMEOUT_S))


def _of_status(status: Mapping[str, Any]) -> Iterator[Finding]:
    about, seen = "plugin", f"{status['Version']}, engine {status['Engine']}"
    problems = list(status["SettingsProblems"])
    if status["EngineProblem"]:
        problems.append(status["EngineProblem"])
    if status["Version"] != __version__:
        problems.append(f"restart Orthanc: this is {__version__}")
    threads = status["Threads"].items()
    problems += [f"its thread {name}: {how}" for name, how in threads if how != "running"]
    yield from (Finding(about, seen, problem) for problem in problems or [""])
