"""make bench-gpu: what a GPU takes for a case and for a patch, as JSON, within a minute.

It needs no Orthanc, no network and no data but the phantom, so that it runs wherever a GPU can be
had for some minutes.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from liver_unet import gpu
from liver_unet.fallback import load_segmenter
from liver_unet.metrics import dice
from liver_unet.segmenter import Segmenter
from liver_unet.weights import default_weights
from orthanc_liver.engine.protocol import JobSettings
from orthanc_liver.pipeline import Segmentation, segment_series
from tests.bench.series import ct
from tests.support.ct_writer import to_bytes, write_ct_series

_RUNS = 4  # the first one apart
_PATCHES_AT_ONCE = (1, 8)


def measured(segmenter: Segmenter, instances: Sequence[bytes]) -> dict[str, Any]:
    """Seconds by stage of each run, the first of which prepares much; the GPU against the CPU."""
    cases = [_case(segmenter, instances) for _ in range(_RUNS)]
    seconds = [case.report["seconds"] for case in cases]
    found: dict[str, Any] = {
        "device": str(segmenter.device),
        "card": _card(segmenter.device),
        "torch": torch.__version__,
        "precision": str(segmenter.fine.precision),
        "free_mib": gpu.free_mib(segmenter.device) if _is_gpu(segmenter) else None,
        "model_sha256": segmenter.fine.spec.sha256,
        "slices": len(instances),
        "liver_ml": cases[0].report["liver_ml"],
        "warnings": cases[0].report["warnings"],
        "seconds": seconds,
        "case_s": statistics.median(sum(run.values()) for run in seconds[1:]),
        "patch_ms": _patch_ms(segmenter),
    }
    if segmenter.on_cpu:
        liver, on_cpu = (one.liver for one in (cases[0], _case(segmenter.on_cpu, instances)))
        if liver and on_cpu:
            found["dsc_with_cpu"] = dice(liver.mask_on_ct(), on_cpu.mask_on_ct())
    return found


def _case(segmenter: Segmenter, instances: Sequence[bytes]) -> Segmentation:
    return segment_series(
        instances,
        segmenter,
        JobSettings(minimum_slices=10),
        created=datetime.now(UTC),
        progress=lambda stage, fraction: None,
    )


def _patch_ms(segmenter: Segmenter) -> dict[str, float]:
    """Of the network alone, for a patch, by how many it takes at once."""
    model, found = segmenter.fine, {}
    for count in _PATCHES_AT_ONCE if _is_gpu(segmenter) else (1,):
        batch = torch.rand(count, 1, *model.spec.patch, device=model.device)

        def work(batch: torch.Tensor = batch) -> None:
            with (
                torch.inference_mode(),
                torch.autocast(
                    model.device.type, model.precision, enabled=model.precision != torch.float32
                ),
            ):
                model.network(batch).sum().item()

        found[str(count)] = 1000 * _median_s(work) / count
    return found


def _median_s(work: Callable[[], None]) -> float:
    work()
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _is_gpu(segmenter: Segmenter) -> bool:
    return segmenter.device.type == "cuda"


def _card(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "none"


def main(out: Path) -> None:
    instances = [to_bytes(one) for one in write_ct_series(ct("phantom", 250))]
    loaded = load_segmenter(default_weights(), "auto")
    found = {"asked for": loaded.device, **measured(loaded.segmenter, instances)}
    text = json.dumps(found, indent=2)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
