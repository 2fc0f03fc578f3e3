"""What make bench says of the machine that it measures."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from liver_unet.network import build_network
from tests.bench import __main__ as bench
from tests.bench.arithmetic import gflop_of_a_patch
from tests.bench.child import Measured
from tests.bench.machine import processor
from tests.support.threshold_engine import SPEC

ZEN_3 = "model name\t: AMD EPYC 7763\nflags\t\t: fpu avx avx2 fma\nmodel name\t: another core"
SAPPHIRE_RAPIDS = (
    "model name : Intel(R) Xeon(R) 8488C\n"
    "flags : avx2 avx512f avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8"
)


@pytest.mark.parametrize(
    ("cpuinfo", "name", "instructions"),
    [
        (ZEN_3, "AMD EPYC 7763", ["AVX2"]),
        (
            SAPPHIRE_RAPIDS,
            "Intel(R) Xeon(R) 8488C",
            ["AVX2", "AVX-512", "VNNI", "bf16", "AMX bf16", "AMX int8"],
        ),
    ],
)
def test_a_processor_is_named_with_what_it_offers(
    cpuinfo: str, name: str, instructions: list[str]
) -> None:
    found = processor(cpuinfo)
    assert (found["processor"], found["instructions"]) == (name, instructions)


def test_arithmetic_is_that_of_all_convolutions() -> None:
    products = 0

    def count(
        part: nn.Conv3d | nn.ConvTranspose3d, given: tuple[torch.Tensor], out: torch.Tensor
    ) -> None:
        nonlocal products
        each = part.weight[0].numel()  # by what one value of the smaller side is multiplied
        products += each * (given[0] if isinstance(part, nn.ConvTranspose3d) else out).numel()

    with torch.device("meta"):
        network = build_network(SPEC.channels, SPEC.classes)
        for part in network.modules():
            if isinstance(part, nn.Conv3d | nn.ConvTranspose3d):
                part.register_forward_hook(count)
        network(torch.empty(1, 1, *SPEC.patch))
    assert products
    assert gflop_of_a_patch(SPEC) == pytest.approx(2 * products / 1e9)


@pytest.mark.parametrize(
    ("fastest", "asked"), [(torch.float32, ("fp32",)), (torch.bfloat16, ("fp32", "bf16"))]
)
def test_bf16_is_asked_only_of_a_processor_that_computes_in_it(
    fastest: torch.dtype, asked: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "fastest_precision", lambda _: fastest)
    assert bench._precisions() == asked


def test_machine_and_ratio_to_the_limit_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = {
        **processor(ZEN_3),
        "threads": 2,
        "card": "none",
        "runtime": "OpenVINO 2026.4.0",
        "precision": "float32",
    }
    fine = {"gmac": 9.7, "patch_ms": 210.0, "gflops": 92.4, "limit_gflops": 140.0}
    told = {"machine": machine, "networks": {"fine": fine | {"of_the_limit": 0.66}}}
    monkeypatch.setattr(bench, "measure", lambda _: Measured([], 1.0, told))
    bench.arithmetic()
    printed = capsys.readouterr().out
    for word in ("EPYC 7763", "AVX2;", "OpenVINO 2026.4.0, float32, 2 threads", "card: none"):
        assert word in printed
    assert printed.splitlines()[-1].split() == ["fine", "9.7", "210.0", "92", "140", "0.66"]
