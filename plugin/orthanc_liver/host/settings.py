"""The "LiverSegmentation" section of orthanc.json: every key checked, none guessed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from orthanc_liver.engine.cluster_case import NAME
from orthanc_liver.engine.protocol import LOOK_HERE, NEEDS, SOURCE, JobSettings, Kind, with_needs
from orthanc_liver.host.filter_conditions import did_you_mean, problem_of_filter
from orthanc_liver.host.installation import default_interpreter
from orthanc_liver.host.weights_folder import NamedModel, model_in
from orthanc_liver.identifiers import SHA256
from orthanc_liver.sirt.limits import wrong_limits

SECTION = "LiverSegmentation"

# What the page puts into a link to a viewer.
LINK_PLACES = ("{StudyInstanceUID}", "{SeriesInstanceUID}", "{orthanc}")
_MAX_LINK_CHARS = 1000

# When a result may leave, as SendAfter and a destination's When say it.
AT_ONCE, ACCEPTED, ACCEPTED_IF_DOUBTFUL = WHEN = ("result", "accepted", "accepted-if-doubtful")

Check = Callable[[Any], str | None]


def _boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _whole_number(low: int, high: int) -> Check:
    def check(value: Any) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return None
        return f"must be a whole number from {low} to {high}"

    return check


def _text(max_length: int) -> Check:
    forbidden = "must be on one line and without a backslash"

    def check(value: Any) -> str | None:
        if isinstance(value, str) and 1 <= len(value.strip()) <= len(value) <= max_length:
            return None if value.isprintable() and "\\" not in value else forbidden
        return f"must be a text of 1 to {max_length} characters"

    return check


def _roi_name(value: Any) -> str | None:
    return "is what LookHere calls its ROI" if value == LOOK_HERE else _text(64)(value)


def _series_description(value: Any) -> str | None:
    if problem := _text(64)(value):
        return problem
    wrong = set(re.findall(r"\{.*?\}|[{}]", value)) - {SOURCE}
    return f"{min(wrong)} is not {SOURCE}" if wrong else None


def _device(value: Any) -> str | None:
    if isinstance(value, str) and re.fullmatch(r"auto|cpu|cuda(:\d+)?", value):
        return None
    return 'must be "auto", "cpu", "cuda" or "cuda:N"'


def _log_format(value: Any) -> str | None:
    return None if value in ("text", "json") else 'must be "text" or "json"'


def _send_after(value: Any) -> str | None:
    return None if value in WHEN else f"must be one of: {', '.join(WHEN)}"


def _webhook(value: Any) -> str | None:
    if value == {}:
        return None
    if not isinstance(value, dict) or set(value) != {"Url", "Secret"}:
        return 'must be {"Url": "https://...", "Secret": "..."}, or empty'
    if any(_text(_MAX_LINK_CHARS)(one) for one in value.values()) or len(value["Secret"]) < 16:
        return "Url must be an address, and Secret a text of at least 16 characters"
    if not re.fullmatch(r"https?://[^\s/?#@]+(?:[/?][!-~]*)?", value["Url"]):
        return "Url must begin with https:// or http:// and name no user"
    return None


def _viewer(value: Any) -> str | None:
    if not isinstance(value, str) or len(value) > _MAX_LINK_CHARS or not value.isprintable():
        return f"must be a link on one line of at most {_MAX_LINK_CHARS} characters"
    if unknown := set(re.findall(r"\{.*?\}|[{}]", value)) - set(LINK_PLACES):
        return f"{min(unknown)} is none of {', '.join(LINK_PLACES)}"
    if value and not value.startswith(("https://", "http://", "{orthanc}/")):
        return "must begin with https://, http:// or {orthanc}/"
    return None


def _colour(value: Any) -> str | None:
    is_byte = _whole_number(0, 255)
    if isinstance(value, list | tuple) and [is_byte(one) for one in value] == [None] * 3:
        return None
    return "must be three whole numbers from 0 to 255: red, green, blue"


def _store(value: Any) -> str | None:
    kinds = tuple(Kind)
    if not isinstance(value, list | tuple) or any(one not in kinds for one in value):
        return f"must be a list of {', '.join(kinds)}"
    if Kind.RTSTRUCT not in value:
        return f"must hold {Kind.RTSTRUCT}, of which everything else is made"
    for kind in with_needs(value):
        if kind not in value:
            needy = ", ".join(one for one in value if kind in NEEDS.get(one, ()))
            return f"must hold {kind} where it holds {needy}, which refers to it"
    return None


def _interpreter(value: Any) -> str | None:
    if not isinstance(value, str):
        return "must be the path of a Python interpreter"
    path = interpreter_path(value)
    if path.is_file() and os.access(path, os.X_OK):
        return None
    return f"there is no program {path}; give the interpreter of orthanc-liver's own environment"


def _weights(value: Any) -> str | None:
    if not isinstance(value, str):
        return "must be the path of a folder of weights"
    if not value or model_in(Path(value)):
        return None
    return f"there are no weights in {Path(value).absolute()}: it must hold a liver.json"


def _sha256(value: Any) -> str | None:
    is_one = isinstance(value, str) and re.fullmatch(f"({SHA256})?", value)
    return None if is_one else "must be 64 characters from 0 to 9 and a to f, or empty"


def _destinations(value: Any) -> str | None:
    if not isinstance(value, list | tuple):
        return "must be a list of destinations"
    return next(filter(None, map(_destination, value)), None)


def _destination(value: Any) -> str | None:
    names = set(value) - {"Objects", "When", "Commitment"} if isinstance(value, dict) else set()
    if names not in ({"Modality"}, {"DicomWeb"}) or _text(256)(value[min(names)]):
        return (
            'each destination must be {"Modality": "..."}, a name of DicomModalities, or '
            '{"DicomWeb": "..."}, a name of DicomWeb.Servers; optionally with Objects, When and '
            "Commitment"
        )
    objects = value.get("Objects", list(Kind))
    if not isinstance(objects, list) or not objects or not set(map(str, objects)) <= set(Kind):
        return f"Objects of a destination must be a list of {', '.join(Kind)}"
    if value.get("Commitment", False) not in (False, True) or {"DicomWeb", "Commitment"} <= set(
        value
    ):
        return "Commitment of a destination must be true or false, and only a Modality may have it"
    problem = _send_after(value.get("When", AT_ONCE))
    return f"When of a destination {problem}" if problem else None


def _dose_limits(value: Any) -> str | None:
    if not isinstance(value, dict):
        return "must be an object with a value in Gy for each limit's name"
    return wrong_limits(value) or None


def _broker(value: Any) -> str | None:
    if value == {}:
        return None
    fields = {"Url", "Password", "Orthanc"}
    if not isinstance(value, dict) or set(value) - {"CaFile"} != fields:
        return (
            'must be {"Url": "amqps://user@host/vhost", "Password": "...", "Orthanc": "..."}, '
            "optionally with CaFile, or empty"
        )
    if any(_text(_MAX_LINK_CHARS)(one) for one in value.values()):
        return "all that it holds must be text on one line"
    if not re.fullmatch(r"amqps?://[^\s/?#@:]+@[^\s/?#@]+/[!-~]*", value["Url"]):
        return "Url must be amqps://user@host:port/vhost, without the password"
    if not re.fullmatch(NAME, value["Orthanc"]):
        return "Orthanc must be a name of letters, digits, _, - and ., at most 64"
    return None


def _setting(default: Any, meaning: str, check: Check) -> Any:
    metadata = {"meaning": meaning, "check": check}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """One attribute per key of the section, in snake_case."""

    automatic: bool = _setting(
        True, "Segment every series that passes the filter, once it is stable.", _boolean
    )
    modality: str = _setting("CT", "The modality a series must have.", _text(16))
    minimum_slices: int = _setting(
        JobSettings.minimum_slices,
        "The least number of instances; below it a series cannot cover a liver.",
        _whole_number(2, 100_000),
    )
    filter: Mapping[str, Any] = _setting(
        {},
        "What a series must be: attributes, each with a regular expression or with AtLeast and "
        "AtMost; AllOf and AnyOf join filters. A missing attribute counts as empty.",
        problem_of_filter,
    )
    one_per_study: bool = _setting(
        False,
        "Of each study take only the best series that passes, when the study is complete; see "
        "Which series.",
        _boolean,
    )
    interpreter: str = _setting(
        "",
        "The Python that runs the network; empty: that of the environment which orthanc-liver was "
        "installed into, in a checkout .venv/bin/python.",
        _interpreter,
    )
    device: str = _setting(
        "auto", 'Where the network runs: "auto", "cpu", "cuda" or "cuda:N".', _device
    )
    weights: str = _setting(
        "", "The folder of the weights; empty: those that came with the product.", _weights
    )
    weights_sha256: str = _setting(
        "",
        "No job runs unless the weights have this SHA-256, as GET /liver/status tells it; empty: "
        "any.",
        _sha256,
    )
    shadow_weights: str = _setting(
        "",
        "The folder of a second model that outlines after the first, when no job waits; nothing of "
        "it is stored or sent but how it agrees with the first and with outlines that come back. "
        "Not with Broker.",
        _weights,
    )
    threads: int = _setting(
        0,
        "CPU threads of the network; 0: as many as there are cores, or as a CPU quota allows.",
        _whole_number(0, 1024),
    )
    roi_name: str = _setting(
        JobSettings.roi_name, "The name of the ROI in the RTSTRUCT.", _roi_name
    )
    roi_colour: tuple[int, ...] = _setting(
        JobSettings.roi_colour, "The colour of the ROI: red, green, blue.", _colour
    )
    series_description: str = _setting(
        JobSettings.series_description,
        "The series description of the results; {source} stands for number and description of "
        "the CT's series.",
        _series_description,
    )
    store: tuple[str, ...] = _setting(
        JobSettings.kinds,
        "What a job stores: RTSTRUCT, optionally SEG (the mask), SR (the volume; needs SEG), SC "
        "(the outlined slices as pictures) and PDF (a sheet to read).",
        _store,
    )
    look_here: bool = _setting(
        JobSettings.look_here,
        f'Store where the networks are unsure as an ROI of its own, "{LOOK_HERE}", and as a second '
        "segment.",
        _boolean,
    )
    retries: int = _setting(
        2, "How often a failed job is tried again, in a fresh process.", _whole_number(0, 20)
    )
    job_timeout_seconds: int = _setting(
        3600, "After this time a job is stopped and counts as failed.", _whole_number(1, 604_800)
    )
    maximum_memory_mib: int = _setting(
        JobSettings.maximum_memory_mib,
        "A series for which the inference process would need more memory is refused; SC and PDF in "
        "Store count.",
        _whole_number(1536, 16_777_216),
    )
    keep_superseded: bool = _setting(
        True,
        "Keep the former RTSTRUCT of a series when a new one of the same model takes its place.",
        _boolean,
    )
    jobs_kept: int = _setting(
        200, "How many finished jobs GET /liver/jobs remembers.", _whole_number(1, 10_000)
    )
    destinations: tuple[dict[str, Any], ...] = _setting(
        (),
        'Where each result is sent: {"Modality": "name"} by C-STORE, {"DicomWeb": "name"} by '
        'STOW-RS; optionally with "Objects", the kinds that go there (else all), "When", a value '
        'of SendAfter that overrides it there, and "Commitment": true, to ask a modality for '
        "proof.",
        _destinations,
    )
    return_to_sender: bool = _setting(
        False, "Send each result by C-STORE to the modality that sent the CT.", _boolean
    )
    send_after: str = _setting(
        AT_ONCE,
        'When a result is sent: "result", at once, "accepted", when a person has accepted the '
        'outline, or "accepted-if-doubtful", at once where its grade is "sure". A rejected '
        "one is never sent.",
        _send_after,
    )
    labels: bool = _setting(
        False,
        "Label each study in Orthanc (1.12 and later) by what came of it: liver-sure, liver-look, "
        "liver-doubtful, liver-accepted.",
        _boolean,
    )
    webhook: Mapping[str, str] = _setting(
        {},
        'Who gets a POST that says how each job ended, {"Url": "...", "Secret": "..."}; see '
        "docs/OPERATE.md.",
        _webhook,
    )
    quality_first_cases: int = _setting(
        150,
        "How many of a model's first outlines that came back set the limits of its control chart.",
        _whole_number(20, 10_000),
    )
    retention_days: int = _setting(
        0,
        "After how many days the picture of a job and the comparisons with outlines that came back "
        "are deleted, though their study stays; 0: with their study.",
        _whole_number(0, 36_500),
    )
    viewer: str = _setting(
        "",
        "A link to a viewer for the page: {StudyInstanceUID}, {SeriesInstanceUID} and {orthanc}, "
        "the address of Orthanc without a slash at its end, stand for themselves; empty: none.",
        _viewer,
    )
    backfill_pause_seconds: int = _setting(
        10, "How long a backfill rests between two series.", _whole_number(0, 86_400)
    )
    dose_limits_gy: Mapping[str, float] = _setting(
        {},
        "Your own limits of absorbed dose in Gy, each in the place of the published one of that "
        "name, for the warnings of the activity.",
        _dose_limits,
    )
    log_format: str = _setting(
        "text",
        'How the log reports each request and the end of each job: "text", or "json" with one '
        "object a line, after Orthanc's own prefix.",
        _log_format,
    )

    broker: Mapping[str, str] = _setting(
        {},
        'Have workers on other machines compute: {"Url": "amqps://user@host/vhost", "Password": '
        '"...", "Orthanc": "this Orthanc\'s name among the workers"}, optionally with CaFile; see '
        "docs/SCALE.md. Empty: a process beside Orthanc computes.",
        _broker,
    )
    jobs_at_once: int = _setting(
        4, "With Broker, how many jobs are with workers at once.", _whole_number(1, 64)
    )

    @property
    def command(self) -> list[str]:
        """What starts the process that computes, or has workers compute."""
        if self.broker:
            interpreter = str(interpreter_path(self.interpreter))
            dispatcher = [interpreter, "-m", "orthanc_liver.cluster.dispatcher"]
            return [*dispatcher, *_option_of(self.weights)]
        return self._inference(self.weights)

    @property
    def shadow_command(self) -> list[str]:
        """What starts the process of the second model."""
        return self._inference(self.shadow_weights)

    def _inference(self, weights: str) -> list[str]:
        return [
            str(interpreter_path(self.interpreter)),
            *("-m", "orthanc_liver.engine.inference_process"),
            *_option_of(weights),
            *("--device", self.device),
            *("--threads", str(self.threads)),
        ]

    @property
    def shadow_model(self) -> NamedModel | None:
        """The second model, where there is one."""
        return model_in(Path(self.shadow_weights)) if self.shadow_weights else None

    @property
    def writer_command(self) -> list[str]:
        """What starts the process for a result that is there already: it writes what else there is
        to be of it, cuts it into parts, or compares it."""
        return [
            str(interpreter_path(self.interpreter)),
            "-m",
            "orthanc_liver.engine.document_process",
        ]

    def for_engine(self) -> JobSettings:
        """The part of the settings that travels with each job."""
        return JobSettings(
            minimum_slices=self.minimum_slices,
            maximum_memory_mib=self.maximum_memory_mib,
            roi_name=self.roi_name,
            roi_colour=self.roi_colour,
            series_description=self.series_description,
            kinds=tuple(Kind(one) for one in self.store),
            look_here=self.look_here,
        )


@dataclass(frozen=True)
class SettingRow:
    """One line of the settings table in docs/REFERENCE.md."""

    name: str
    default: Any
    meaning: str


def settings_table() -> list[SettingRow]:
    """Every setting with its default as it is written in orthanc.json."""
    defaults = Settings()
    rows = []
    for one in fields(Settings):
        default = getattr(defaults, one.name)
        default = list(default) if isinstance(default, tuple) else default
        rows.append(SettingRow(_key(one.name), default, one.metadata["meaning"]))
    return rows


def read_settings(configuration: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """Take our section out of Orthanc's configuration.

    Returns the settings, with the default wherever a value is wrong, and one sentence for each
    thing that is wrong. With any problem no job may run.
    """
    section = configuration.get(SECTION, {})
    if not isinstance(section, dict):
        return Settings(), [f"{SECTION} must be an object"]
    by_key = {_key(one.name): one for one in fields(Settings)}
    problems = [
        f"{SECTION}.{key}: there is no such setting{did_you_mean(key, by_key)}"
        for key in section
        if key not in by_key
    ]
    values: dict[str, Any] = {}
    for key, one in by_key.items():
        # The default is checked too: the default interpreter may be missing.
        value = section.get(key, getattr(Settings(), one.name))
        problem = one.metadata["check"](value)
        if problem:
            problems.append(f"{SECTION}.{key}: {problem}")
        else:
            values[one.name] = tuple(value) if isinstance(value, list) else value
    settings = Settings(**values)
    if settings.broker and settings.shadow_weights:
        problems.append(
            f"{SECTION}.ShadowWeights: must be empty with Broker, whose workers compute with one "
            "model"
        )
    return settings, problems


def _option_of(weights: str) -> list[str]:
    """Absolute, as the process begins in another folder."""
    return ["--weights", str(Path(weights).absolute())] if weights else []


def interpreter_path(setting: str) -> Path:
    """The interpreter that a value of the setting means; it need not exist.

    Absolute, as its process begins in another folder, and not resolved: a link is an environment.
    """
    return Path(setting).absolute() if setting else default_interpreter()


def _key(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
