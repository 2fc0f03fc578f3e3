"""The network as OpenVINO runs it: in float32 on a CPU it takes less than half of torch's time.

liver.graph.json lies beside the weights and holds no weights: the graph's large constants are
places in liver.safetensors itself. Its SHA-256 is in the spec; a network without one runs in torch.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import tempfile
import threading
import warnings
import xml.etree.ElementTree as ET  # nosec B405 # what it reads was written the line before
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

# OpenVINO tells its makers of every conversion unless it finds its telemetry missing.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # what Python means by missing

import openvino  # noqa: E402

from liver_unet.model_errors import WeightsRefused  # noqa: E402
from liver_unet.weights import (  # noqa: E402
    WEIGHTS_FILE,
    ModelSpec,
    load_model,
    read_checked,
    write_spec,
)
from liver_unet.whole_file import whole_file  # noqa: E402

GRAPH_FILE = "liver.graph.json"
_AGAIN = "make it anew (orthanc-liver export --graph), or restore all files from one release"
_MOST_STREAMS = 4
# One for as long as the process lives: it lends the thread that compiles a stack for signals, and
# where it is freed by another thread, the next signal (a child's end) ends the process.
_CORE = openvino.Core()


class GraphNetwork(nn.Module):
    """Answers like the network it was made of, a (1, 1, slice, row, column) patch at a time.

    streams: how many threads may call it at once, each getting its share of the CPU's threads.
    """

    runtime = f"OpenVINO {openvino.__version__.split('-')[0]}"

    def __init__(self, graph: openvino.Model, threads: int) -> None:
        super().__init__()
        self.streams = min(threads, _MOST_STREAMS)
        settings = {
            "NUM_STREAMS": self.streams,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
            # Two jobs at once, or a container's quota: whoever started us decides on which cores.
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled = _CORE.compile_model(graph, "CPU", settings)
        self._own = threading.local()

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Return the logits; the next call of the same thread writes over them."""
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        answers = self._own.request.infer({0: batch.contiguous().numpy()}, share_inputs=True)
        return torch.from_numpy(answers[0])


def load_graph(directory: Path, spec: ModelSpec, threads: int) -> GraphNetwork:
    """Return the network of a folder that has a graph; raises WeightsRefused."""
    path = directory / GRAPH_FILE
    content = read_checked(path, spec.graph_sha256)
    weights = read_checked(directory / WEIGHTS_FILE, spec.sha256)
    try:
        stored = json.loads(content)
        # Those that were made before it was kept do not say.
        made_of = stored.get("weights_sha256", spec.sha256)
        constants = base64.b64decode(stored["constants"])
        buffer = openvino.Tensor(np.frombuffer(constants + weights, dtype=np.uint8))
        graph = _CORE.read_model(stored["graph"].encode(), buffer)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        why = type(error).__name__
        raise WeightsRefused(
            f"{path} holds no graph that OpenVINO reads ({why}): {_AGAIN}"
        ) from error
    if made_of != spec.sha256:
        raise WeightsRefused(f"{path} was made of other weights ({made_of}): {_AGAIN}")
    return GraphNetwork(graph, threads)


def write_graph(directory: Path) -> ModelSpec:
    """Make the graph of the weights in a folder; returns the spec, which knows it now."""
    network, spec = load_model(directory, torch.device("cpu"))
    graph = {**_graph_of(network, spec.patch, directory), "weights_sha256": spec.sha256}
    content = json.dumps(graph, indent=1).encode() + b"\n"
    with whole_file(directory / GRAPH_FILE) as part:
        part.write_bytes(content)
    spec = replace(spec, graph_sha256=hashlib.sha256(content).hexdigest())
    write_spec(spec, directory)
    return spec


def _graph_of(network: nn.Module, patch: tuple[int, int, int], directory: Path) -> dict[str, str]:
    """The graph's XML with its constants at their places in: small ones, then the weights' file."""
    shape = [1, 1, *patch]
    with warnings.catch_warnings():
        # OpenVINO 2026.4 traces a network by what torch is about to leave, which warns of much.
        warnings.simplefilter("ignore")
        model = openvino.convert_model(network, example_input=torch.zeros(shape), input=shape)
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        path = Path(folder) / "liver.xml"
        try:
            openvino.save_model(model, path, compress_to_fp16=True)
        except RuntimeError as error:  # as a full disk is told
            raise WeightsRefused(
                f"the graph cannot be written into {directory} ({error}): make room on its disk"
            ) from error
        xml = ET.parse(path)  # noqa: S314 # nosec B314
        content = path.with_suffix(".bin").read_bytes()
    weights = (directory / WEIGHTS_FILE).read_bytes()
    places = _places(xml, content)
    small = {data for data in places.values() if data not in weights or len(data) < 32}
    constants = b"".join(sorted(small))
    constants += b"\0" * (-len(constants) % 64)
    everything = constants + weights
    for element, data in places.items():
        element.set("offset", str(everything.index(data)))
    return {
        "graph": ET.tostring(xml.getroot(), encoding="unicode"),
        "constants": base64.b64encode(constants).decode(),
    }


def _places(xml: ET.ElementTree[ET.Element], content: bytes) -> Mapping[ET.Element, bytes]:
    """Every constant of the graph and its bytes."""
    found = {}
    for layer in xml.iter("layer"):
        data = layer.find("data")
        if layer.get("type") == "Const" and data is not None:
            begin, size = int(data.get("offset", "")), int(data.get("size", ""))
            found[data] = content[begin : begin + size]
    return found
