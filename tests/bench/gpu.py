"""make bench-gpu: what a GPU takes for a case and for a patch, as JSON, within a minute.

It needs no Orthanc, no network and no data but the phantom, so that it runs wherever a GPU can be
had for some minutes.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from liver_unet import gpu
from liver_unet.fallback import load_segmenter
from liver_unet.metrics import dice
from liver_unet.model import Model
from liver_unet.segmenter import Segmenter
from liver_unet.weights import default_weights
from orthanc_liver.engine.protocol import JobSettings
from orthanc_liver.pipeline import Segmentation, segment_series
from tests.bench.arithmetic import described, gflop_of_a_patch, limit_gflops, seconds_of
from tests.bench.series import ct
from tests.support.ct_writer import to_bytes, write_ct_series

_RUNS = 4  # the first one apart
_PATCHES_AT_ONCE = (1, 8)


def measured(segmenter: Segmenter, instances: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    """Seconds by stage of each run, the first of which prepares much; the GPU against the CPU.

    Yields what is known so far as often as there is more.
    """
    cases = [_case(segmenter, instances) for _ in range(_RUNS)]
    seconds = [case.report["seconds"] for case in cases]
    found: dict[str, Any] = {
        "device": str(segmenter.device),
        **described(segmenter),
        "free_mib": gpu.free_mib(segmenter.device) if _is_gpu(segmenter) else None,
        "slices": len(instances),
        "liver_ml": cases[0].report["liver_ml"],
        "warnings": cases[0].report["warnings"],
        "seconds": seconds,
        "case_s": statistics.median(sum(run.values()) for run in seconds[1:]),
    }
    yield found
    yield (found := found | _arithmetic(segmenter))
    if segmenter.on_cpu:
        liver, on_cpu = (one.liver for one in (cases[0], _case(segmenter.on_cpu, instances)))
        if liver and on_cpu:
            yield found | {"dsc_with_cpu": dice(liver.mask_on_ct(), on_cpu.mask_on_ct())}


def _case(segmenter: Segmenter, instances: Sequence[bytes]) -> Segmentation:
    return segment_series(
        instances,
        segmenter,
        JobSettings(minimum_slices=10),
        created=datetime.now(UTC),
        progress=lambda stage, fraction: None,
    )


def _arithmetic(segmenter: Segmenter) -> dict[str, Any]:
    """Of the network alone, for a patch, by how many it takes at once: as many as the card has
    room for. The share of what the card's own matrix product comes to, where that has room."""
    model = segmenter.fine
    gflop = gflop_of_a_patch(model.spec)
    patch_s: dict[str, float] = {}
    limit = None
    with _as_far_as_there_is_room():
        for count in _PATCHES_AT_ONCE if _is_gpu(segmenter) else (1,):
            patch_s[str(count)] = _patch_s(model, count)
    with _as_far_as_there_is_room():
        limit = limit_gflops(model.device, model.precision)
    return {
        "patch_ms": {count: 1000 * seconds for count, seconds in patch_s.items()},
        "patch_gmac": gflop / 2,
        "limit_gflops": limit,
        "of_the_limit": {
            count: gflop / seconds / limit for count, seconds in patch_s.items() if limit
        },
    }


@contextmanager
def _as_far_as_there_is_room() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not gpu.is_full(error):
            raise


def _patch_s(model: Model, count: int) -> float:
    batch = torch.rand(count, 1, *model.spec.patch, device=model.device)

    def work() -> None:
        with (
            torch.inference_mode(),
            torch.autocast(
                model.device.type, model.precision, enabled=model.precision != torch.float32
            ),
        ):
            model.network(batch).sum().item()

    return min(seconds_of(work)) / count


def _is_gpu(segmenter: Segmenter) -> bool:
    return segmenter.device.type == "cuda"


def main(out: Path) -> None:
    instances = [to_bytes(one) for one in write_ct_series(ct("phantom", 250))]
    loaded = load_segmenter(default_weights(), "auto")
    out.parent.mkdir(parents=True, exist_ok=True)
    for found in measured(loaded.segmenter, instances):
        # At once: what comes next may fail on a card that is full.
        out.write_text(json.dumps({"asked for": loaded.device, **found}, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
