"""The training loop: resumable, seeded, validated on the CT's own grid."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from liver_unet.model_errors import TrainingRefused
from liver_unet.training.cases import read_case
from liver_unet.training.config import PlateauSchedule, TrainingConfig
from liver_unet.training.curves import Curve
from liver_unet.training.folds import split
from liver_unet.training.fused_patches import FusedPatches, Sample
from liver_unet.training.layouts import CaseFiles, find_cases
from liver_unet.training.monai_patches import MonaiPatches
from liver_unet.training.pictures import draw_curves, montage
from liver_unet.training.state import TrainingState
from liver_unet.training.validation import Score, validate
from liver_unet.weights import ModelSpec, load_model, save_weights


def train(
    config: TrainingConfig,
    data: Path,
    out: Path,
    device: torch.device,
    fold: int | None = 0,
    start: Path | None = None,
) -> None:
    """Train to the end, going on from out/checkpoint.pt where there is one.

    fold: which group of patients is kept for validation; None learns from all and validates none.
    start: a folder of weights to begin from instead of random ones.
    Leaves in out: best/ and last/ (averaged weights and spec), loss.csv, validation.csv,
    curves.png, validation.png, training.json. Raises TrainingRefused before the first step.
    """
    if fold is None and isinstance(config.schedule, PlateauSchedule):
        raise TrainingRefused("a plateau schedule needs validation: choose a fold")
    if start is None and config.start_share > 0:
        raise TrainingRefused(
            f"start_share = {config.start_share}: name the weights to begin from (--start)"
        )
    files = find_cases(data)
    names = [case.name for case in files]
    learn, judge = split(names, config.folds, config.fold_0, fold)
    out.mkdir(parents=True, exist_ok=True)
    state = TrainingState(config, device)
    record: dict[str, object] = {"config": asdict(config), "learn": learn, "validate": judge}
    if start is not None:
        record["start"] = _begin_from(start, state, config)
    _claim(out, record)
    run = _Run(config, out, state, [f for f in files if f.name in judge])
    run.go([f for f in files if f.name in learn])


def _begin_from(start: Path, state: TrainingState, config: TrainingConfig) -> str:
    """Take over the weights in a folder; return their SHA-256."""
    network, spec = load_model(start, torch.device("cpu"))
    if (spec.channels, spec.classes) != (config.channels, config.classes):
        raise TrainingRefused(
            f"{start} holds {list(spec.channels)} channels and {spec.classes} classes, "
            f"the configuration asks for {list(config.channels)} and {config.classes}: "
            "they must be equal to begin from it"
        )
    state.begin_from(network.state_dict())
    return spec.sha256


def _claim(out: Path, record: dict[str, object]) -> None:
    """Resume nothing but the very same training."""
    path = out / "training.json"
    content = json.dumps(record, indent=2) + "\n"
    if path.exists() and path.read_text() != content:
        raise TrainingRefused(
            f"{path} records another training (configuration or cases differ): "
            "choose another folder for this one"
        )
    path.write_text(content)


@dataclass
class _Run:
    """One training with the files it leaves."""

    config: TrainingConfig
    out: Path
    state: TrainingState
    judge: list[CaseFiles]
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.checkpoint = self.out / "checkpoint.pt"
        if self.checkpoint.exists():
            self.state.load(self.checkpoint)
        self.loss = Curve(self.out / "loss.csv", ("loss", "learning_rate"))
        self.validation = Curve(self.out / "validation.csv", ("case", "dsc", "volume_ratio"))
        for curve in (self.loss, self.validation):
            curve.begin(self.state.step)

    def go(self, learn: list[CaseFiles]) -> None:
        config, state = self.config, self.state
        if state.step >= config.steps or state.schedule.stopped:
            return
        for files in self.judge:
            read_case(files)  # refuse it now, not after a thousand steps
        source = MonaiPatches if config.patches == "monai" else FusedPatches
        patches = source(learn, config)
        with tqdm(initial=state.step, total=config.steps, unit="step", mininterval=1) as progress:
            for batch in _batches(patches, config, state.step):
                self.losses.append(state.learn(*batch))
                progress.update()
                self._after_step(len(learn))
                progress.set_postfix(loss=f"{self.losses[-1]:.3f}" if self.losses else "")
                if state.schedule.stopped:
                    break

    def _after_step(self, learnt_from: int) -> None:
        """Validate and save where it is due; a checkpoint goes with its rows of the curves."""
        state, config = self.state, self.config
        validates = state.step % config.validate_every == 0 or state.step == config.steps
        if not validates and state.step % config.checkpoint_every:
            return
        self.loss.append(state.step, float(np.mean(self.losses)), state.learning_rate)
        self.losses.clear()
        if validates:
            self._validate(learnt_from)
        state.save(self.checkpoint)

    def _validate(self, learnt_from: int) -> None:
        state = self.state
        network = state.kept()
        scores = [validate(network, read_case(f), self.config) for f in self.judge]
        for score in scores:
            self.validation.append(state.step, score.name, score.dsc, score.volume_ratio)
        spec = _spec(self.config, learnt_from, scores, state.step)
        save_weights(network, spec, self.out / "last")
        if scores:
            mean_dsc = float(np.mean([score.dsc for score in scores]))
            state.schedule.after_validation(mean_dsc)
            if mean_dsc > state.best_dsc:
                state.best_dsc = mean_dsc
                save_weights(network, spec, self.out / "best")
            montage([[score.picture] for score in scores]).save(self.out / "validation.png")
        draw_curves(self.loss, self.validation, self.out / "curves.png")


def _batches(
    patches: Dataset[Sample], config: TrainingConfig, first_step: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Patch i is i-th whatever worker makes it, so a resumed training goes on where it was."""
    yield from DataLoader(
        patches,
        batch_size=config.batch,
        sampler=range(first_step * config.batch, config.steps * config.batch),
        num_workers=max(1, (os.cpu_count() or 1) // 2),
        prefetch_factor=4,
        worker_init_fn=_one_thread,
        multiprocessing_context="fork",  # workers share the cases in memory, not copies of them
    )


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)


def _spec(config: TrainingConfig, learnt_from: int, scores: list[Score], step: int) -> ModelSpec:
    accuracy = "not measured"
    if scores:
        dsc = [score.dsc for score in scores]
        accuracy = (
            f"DSC {np.mean(dsc):.4f} ({min(dsc):.4f}-{max(dsc):.4f}) on {len(dsc)} patients "
            f"not learnt from, before cleaning, at step {step}"
        )
    return ModelSpec(
        name="liver-unet",
        spacing_mm=config.spacing_mm,
        window_hu=config.window_hu,
        patch=config.patch,
        channels=config.channels,
        classes=config.classes,
        training_data=f"{learnt_from} patients",
        accuracy=accuracy,
        licence="what the training data's terms allow",
    )
