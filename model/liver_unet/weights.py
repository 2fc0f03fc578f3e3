"""Weights and the spec that must travel with them: liver.safetensors beside liver.json.

The spec says how an image must look before this network may see it, and holds the SHA-256 of the
weights, so that neither can be exchanged without the other. Nothing here is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from liver_unet import DEFAULT_WEIGHTS
from liver_unet.grade import SIGNALS, Grade
from liver_unet.liver import LIVER
from liver_unet.model_errors import WeightsRefused
from liver_unet.network import build_network, to_device
from liver_unet.whole_file import whole_file

WEIGHTS_FILE = "liver.safetensors"
SPEC_FILE = "liver.json"
_LIVER_NAME = "liver"
_GRADES = tuple(grade.word for grade in Grade)


def default_weights() -> Path:
    """Those that come with the package."""
    return DEFAULT_WEIGHTS


@dataclass(frozen=True)
class Calibration:
    """What signals of doubt meant on patients whose liver is known.

    limits: of each signal, from where an outline is to be looked at and from where it is doubtful.
    counts: of the outlines of each grade, how many were wrong, and how many there were.
    """

    limits: Mapping[str, tuple[float, float]]
    counts: Mapping[str, tuple[int, int]]
    measured_on: str


@dataclass(frozen=True)
class ModelSpec:
    """What a user of the weights must know; patch: voxels along (slice, row, column).

    class_names: in the classes' order. data_sha256: of the list of what it learnt from.
    graph_sha256: of the graph beside the weights, "" where there is none; see graph.py.
    calibration: None where nobody has made it; see doubt.py.
    """

    name: str
    spacing_mm: float
    window_hu: tuple[float, float]
    patch: tuple[int, int, int]
    channels: tuple[int, ...]
    classes: int
    training_data: str
    accuracy: str
    licence: str
    sha256: str = ""
    graph_sha256: str = ""
    role: str = "fine"
    class_names: tuple[str, ...] = ()
    data_sha256: str = ""
    patches_seen: int = 0
    seconds: float = 0.0
    processor: str = ""
    calibration: Calibration | None = None


def save_weights(network: nn.Module, spec: ModelSpec, directory: Path) -> ModelSpec:
    """Write the weights as fp16 with their spec; return the spec with the weights' SHA-256."""
    tensors = {
        name: tensor.detach().to("cpu", torch.float16).contiguous()
        for name, tensor in network.state_dict().items()
    }
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise WeightsRefused(
                f"the network's {name} holds values that fp16 cannot: it is not fit to be saved"
            )
    content = safetensors.torch.save(tensors)
    spec = replace(spec, sha256=hashlib.sha256(content).hexdigest(), graph_sha256="")
    directory.mkdir(parents=True, exist_ok=True)
    with whole_file(directory / WEIGHTS_FILE) as part:
        part.write_bytes(content)
    write_spec(spec, directory)
    return spec


def write_spec(spec: ModelSpec, directory: Path) -> None:
    """Replace the spec beside the weights."""
    with whole_file(directory / SPEC_FILE) as part:
        part.write_bytes((json.dumps(asdict(spec), indent=2) + "\n").encode())


def load_model(directory: Path, device: torch.device) -> tuple[nn.Module, ModelSpec]:
    """Return the network in float32, ready for inference, and its spec; raises WeightsRefused."""
    spec = _read_spec(directory / SPEC_FILE)
    path = directory / WEIGHTS_FILE
    content = read_checked(path, spec.sha256)
    network = build_network(spec.channels, spec.classes)
    try:
        tensors = safetensors.torch.load(content)
        network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError) as error:
        raise WeightsRefused(
            f"{path} does not hold the network that {SPEC_FILE} describes: {error}"
        ) from error
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise WeightsRefused(f"{path}: {name} holds what is no number: no liver comes of that")
    return to_device(network, device).eval(), spec


def read_checked(path: Path, sha256: str) -> bytes:
    """Return a file beside the spec; raises WeightsRefused where it is not the one described."""
    content = _read(path)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsRefused(
            f"{path} is not the file that {SPEC_FILE} describes: its SHA-256 is {found}, "
            f"expected {sha256}; restore all files from one release"
        )
    return content


def _read_spec(path: Path) -> ModelSpec:
    try:
        found = json.loads(_read(path), parse_float=_finite, parse_constant=_finite)
    except ValueError as error:
        raise WeightsRefused(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise WeightsRefused(f"{path} must hold one JSON object")
    known = {field.name for field in fields(ModelSpec)}
    # Specs of 0.1.0 do not have what has a default.
    needed = {field.name for field in fields(ModelSpec) if field.default is MISSING} | {"sha256"}
    if wrong := sorted((needed - found.keys()) | (found.keys() - known)):
        state = "missing: restore the file"
        if wrong[0] in found:
            state = "unknown: weights of a later version need that version"
        raise WeightsRefused(f"{path}: {wrong[0]!r} is {state}")
    for name, value in found.items():
        if not _CHECKS[name](value):
            raise WeightsRefused(f"{path}: {name!r} cannot be {value!r}")
    _refuse_contradictions(path, found)
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
    if stored := values.get("calibration"):
        values["calibration"] = Calibration(
            {name: (limits[0], limits[1]) for name, limits in stored["limits"].items()},
            {name: (count[0], count[1]) for name, count in stored["counts"].items()},
            stored["measured_on"],
        )
    return ModelSpec(**values)


def _refuse_contradictions(path: Path, found: Mapping[str, Any]) -> None:
    """What no value alone shows."""
    halvings = 2 ** (len(found["channels"]) - 1)
    if any(n % halvings for n in found["patch"]):
        raise WeightsRefused(
            f"{path}: a network of {len(found['channels'])} channels cannot halve the patch "
            f"{found['patch']} so often: each side must be a multiple of {halvings}"
        )
    names = found.get("class_names")
    if names and (len(names) != found["classes"] or names[LIVER] != _LIVER_NAME):
        raise WeightsRefused(
            f"{path}: class_names {names} are not {found['classes']} names of which number {LIVER} "
            f"is {_LIVER_NAME!r}: these weights outline something else"
        )


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number")
    return number


def _is_calibration(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"limits", "counts", "measured_on"}
        and isinstance(value["measured_on"], str)
        and _are_pairs(value["limits"], SIGNALS, (int, float))
        and _are_pairs(value["counts"], _GRADES, (int,))
    )


def _are_pairs(value: Any, names: Collection[str], types: tuple[type, ...]) -> bool:
    """Whether these names alone have two numbers each, the second no smaller than the first."""
    return isinstance(value, dict) and all(
        name in names
        and isinstance(pair, list)
        and len(pair) == 2
        and all(type(one) in types for one in pair)
        and 0 <= pair[0] <= pair[1]
        for name, pair in value.items()
    )


def _is_whole(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "name": lambda v: isinstance(v, str),
    "spacing_mm": lambda v: type(v) in (int, float) and 0 < v < 100,
    "window_hu": lambda v: (
        isinstance(v, list)
        and len(v) == 2
        and all(type(bound) in (int, float) for bound in v)
        and v[0] < v[1]
    ),
    "patch": lambda v: isinstance(v, list) and len(v) == 3 and all(_is_whole(n, 1) for n in v),
    "channels": lambda v: isinstance(v, list) and len(v) > 1 and all(_is_whole(n, 1) for n in v),
    "classes": lambda v: _is_whole(v, 2),
    "training_data": lambda v: isinstance(v, str),
    "accuracy": lambda v: isinstance(v, str),
    "licence": lambda v: isinstance(v, str),
    "sha256": lambda v: isinstance(v, str),
    "graph_sha256": lambda v: isinstance(v, str),
    "role": lambda v: v in ("fine", "coarse"),
    "class_names": lambda v: isinstance(v, list) and all(isinstance(name, str) for name in v),
    "data_sha256": lambda v: isinstance(v, str),
    "patches_seen": lambda v: _is_whole(v, 0),
    "seconds": lambda v: type(v) in (int, float) and v >= 0,
    "processor": lambda v: isinstance(v, str),
    "calibration": lambda v: v is None or _is_calibration(v),
}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsRefused(f"{path} cannot be read: {error.strerror}") from error
