"""OpenVINO's graph beside the weights answers as torch does, and is refused where it is another."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from liver_unet.graph import GRAPH_FILE, load_graph, write_graph
from liver_unet.inference import liver_probability
from liver_unet.model_errors import WeightsRefused
from liver_unet.network import build_network
from liver_unet.segmenter import COARSE_FOLDER, Segmenter
from liver_unet.weights import WEIGHTS_FILE, ModelSpec, default_weights, load_model, save_weights

CPU = torch.device("cpu")
SPEC = ModelSpec(
    name="tiny",
    spacing_mm=2.5,
    window_hu=(-200.0, 250.0),
    patch=(16, 24, 32),
    channels=(4, 8, 16),
    classes=3,
    training_data="nobody",
    accuracy="none",
    licence="none",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelSpec]:
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    save_weights(build_network(SPEC.channels, SPEC.classes), SPEC, folder)
    return folder, write_graph(folder)


@pytest.fixture
def folder(made: tuple[Path, ModelSpec], tmp_path: Path) -> Path:
    for path in made[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize("threads", [1, 3])
def test_it_answers_as_torch_does_in_several_threads_at_once(folder: Path, threads: int) -> None:
    network, spec = load_model(folder, CPU)
    graph = load_graph(folder, spec, threads)
    patches = list(torch.rand(6, 1, 1, *spec.patch, generator=torch.Generator().manual_seed(2)))
    with torch.inference_mode():
        expected = [network(patch) for patch in patches]
    with ThreadPoolExecutor(graph.streams) as pool:
        answers = list(pool.map(lambda patch: graph(patch).clone(), patches))
    for answer, one in zip(answers, expected, strict=True):
        torch.testing.assert_close(answer, one, atol=1e-4, rtol=1e-4)


def test_a_whole_image_is_the_same_however_many_threads_there_are(folder: Path) -> None:
    network, spec = load_model(folder, CPU)
    image = torch.rand(20, 50, 40, generator=torch.Generator().manual_seed(3))
    expected = liver_probability(network, image, spec.patch)
    for threads in (1, 2):
        graph = load_graph(folder, spec, threads)
        found = liver_probability(graph, image, spec.patch)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_the_segmenter_takes_it_where_the_cpu_computes_in_float32(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liver_unet.model.fastest_precision", lambda _: torch.float32)
    assert Segmenter.load(folder, "cpu").fine.runtime.startswith("OpenVINO 20")
    monkeypatch.setattr("liver_unet.model.fastest_precision", lambda _: torch.bfloat16)
    assert Segmenter.load(folder, "cpu").fine.runtime == f"torch {torch.__version__}"


@pytest.mark.parametrize("name", [GRAPH_FILE, WEIGHTS_FILE])
def test_another_file_than_the_spec_s_is_refused(folder: Path, name: str) -> None:
    spec = load_model(folder, CPU)[1]
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    with pytest.raises(WeightsRefused, match=f"{name} is not the file that"):
        load_graph(folder, spec, 1)
    (folder / name).unlink()
    with pytest.raises(WeightsRefused, match=f"{name} cannot be read"):
        load_graph(folder, spec, 1)


def with_graph(folder: Path, content: bytes) -> ModelSpec:
    """Put another graph there, which the spec then describes."""
    (folder / GRAPH_FILE).write_bytes(content)
    spec = load_model(folder, CPU)[1]
    return replace(spec, graph_sha256=hashlib.sha256(content).hexdigest())


def test_a_graph_of_other_weights_is_refused_though_the_spec_names_it(
    folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    torch.manual_seed(2)
    save_weights(build_network(SPEC.channels, SPEC.classes), SPEC, other)
    write_graph(other)
    spec = with_graph(folder, (other / GRAPH_FILE).read_bytes())
    with pytest.raises(WeightsRefused, match=r"graph.json was made of other weights .*export"):
        load_graph(folder, spec, 1)


def test_a_graph_of_a_former_release_does_not_say_of_what_it_was_made(folder: Path) -> None:
    stored = json.loads((folder / GRAPH_FILE).read_bytes())
    del stored["weights_sha256"]
    spec = with_graph(folder, json.dumps(stored).encode())
    assert load_graph(folder, spec, 1).streams == 1


@pytest.mark.parametrize(
    "content",
    [
        *("{}", "[]", "not json", '{"graph": "x", "constants": "A"}', '{"graph": 1}', '"graph"'),
        *('{"graph": "<net/>", "constants": ""}', '{"graph": 1, "constants": ""}', "\udcff"),
    ],
)
def test_what_is_no_graph_is_refused_though_the_spec_names_it(folder: Path, content: str) -> None:
    spec = with_graph(folder, content.encode(errors="surrogateescape"))
    with pytest.raises(WeightsRefused, match=r"liver.graph.json holds no graph"):
        load_graph(folder, spec, 1)


def test_new_weights_have_no_graph(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liver_unet.model.fastest_precision", lambda _: torch.float32)
    network, spec = load_model(folder, CPU)
    assert save_weights(network, spec, folder).graph_sha256 == ""
    assert Segmenter.load(folder, "cpu").fine.runtime == f"torch {torch.__version__}"


def test_a_full_disk_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr("liver_unet.graph.openvino.save_model", full)
    with pytest.raises(WeightsRefused, match=r"cannot be written into .* make room on its disk"):
        write_graph(folder)


def test_the_graph_holds_no_weights() -> None:
    """Those of the product are 9.6 MB."""
    for weights in (default_weights(), default_weights() / "development"):
        for folder in (weights, weights / COARSE_FOLDER):
            assert (folder / GRAPH_FILE).stat().st_size < 200_000


FREED_ELSEWHERE = """
import os, signal, sys, threading
from pathlib import Path
import torch
from liver_unet.graph import load_graph
from liver_unet.weights import load_model

folder = Path(sys.argv[1])
graphs = [load_graph(folder, load_model(folder, torch.device("cpu"))[1], 1)]
graphs[0](torch.zeros(1, 1, 16, 24, 32))
other = threading.Thread(target=graphs.clear)
other.start()
other.join()
signal.signal(signal.SIGUSR1, lambda *_: None)
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_signal_after_a_graph_was_freed_in_another_thread(folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    program = [sys.executable, "-X", "faulthandler", "-c", FREED_ELSEWHERE, str(folder)]
    assert subprocess.run(program, env=environment, check=False).returncode == 0


def test_openvino_tells_nobody_of_its_use(made: tuple[Path, ModelSpec]) -> None:
    telemetry = {name for name in sys.modules if name.startswith("openvino_telemetry.")}
    assert not telemetry
