"""Weights and the spec that must travel with them: liver.safetensors beside liver.json.

The spec says how an image must look before this network may see it, and holds the SHA-256 of the
weights, so that neither can be exchanged without the other. Nothing here is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from liver_unet.model_errors import WeightsRefused
from liver_unet.network import build_network, to_device

WEIGHTS_FILE = "liver.safetensors"
SPEC_FILE = "liver.json"


def default_weights() -> Path:
    """model/weights of this checkout, beside the package that understands them."""
    return Path(__file__).parents[1] / "weights"


@dataclass(frozen=True)
class ModelSpec:
    """What a user of the weights must know; patch: voxels along (slice, row, column).

    graph_sha256: of the graph beside the weights, "" where there is none; see graph.py.
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
    _write(directory / WEIGHTS_FILE, content)
    write_spec(spec, directory)
    return spec


def write_spec(spec: ModelSpec, directory: Path) -> None:
    """Replace the spec beside the weights."""
    _write(directory / SPEC_FILE, (json.dumps(asdict(spec), indent=2) + "\n").encode())


def load_model(directory: Path, device: torch.device) -> tuple[nn.Module, ModelSpec]:
    """Return the network in float32, ready for inference, and its spec; raises WeightsRefused."""
    spec = _read_spec(directory / SPEC_FILE)
    path = directory / WEIGHTS_FILE
    content = read_checked(path, spec.sha256)
    network = build_network(spec.channels, spec.classes)
    try:
        network.load_state_dict(safetensors.torch.load(content))
    except (SafetensorError, RuntimeError) as error:
        raise WeightsRefused(
            f"{path} does not hold the network that {SPEC_FILE} describes: {error}"
        ) from error
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
        found = json.loads(_read(path))
    except ValueError as error:
        raise WeightsRefused(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise WeightsRefused(f"{path} must hold one JSON object")
    found.setdefault("graph_sha256", "")  # specs of 0.1.0 know no graph
    known = {field.name for field in fields(ModelSpec)}
    if wrong := sorted(known ^ found.keys()):
        state = "unknown" if wrong[0] in found else "missing"
        raise WeightsRefused(f"{path}: {wrong[0]!r} is {state}")
    for name, holds in _CHECKS.items():
        if not holds(found[name]):
            raise WeightsRefused(f"{path}: {name!r} cannot be {found[name]!r}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in found.items()}
    return ModelSpec(**values)


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
}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsRefused(f"{path} cannot be read: {error.strerror}") from error


def _write(path: Path, content: bytes) -> None:
    """Never leave half a file: an interrupted save keeps the former one."""
    part = path.with_suffix(path.suffix + ".part")
    part.write_bytes(content)
    part.replace(path)
