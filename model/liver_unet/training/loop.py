"""The training loop: resumable, seeded, validated on the CT's own grid."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from tqdm import tqdm

from liver_unet.model_errors import TrainingRefused
from liver_unet.segmenter import COARSE_FOLDER
from liver_unet.training.cards import Cards
from liver_unet.training.cases import read_case
from liver_unet.training.config import PlateauSchedule, TrainingConfig
from liver_unet.training.curves import Curve
from liver_unet.training.layouts import CaseFiles, find_cases, told_twice
from liver_unet.training.losses import Batch
from liver_unet.training.monai_patches import MonaiPatches
from liver_unet.training.patches import PaintedPatches, Patches
from liver_unet.training.patients import deal, patient_of, split
from liver_unet.training.pictures import draw_curves, montage, pictures_of, save_picture
from liver_unet.training.refusals import Refusals
from liver_unet.training.state import TrainingState
from liver_unet.training.tissues import CLASS_NAMES
from liver_unet.training.validation import Score, validate
from liver_unet.weights import ModelSpec, load_model, save_weights
from liver_unet.whole_file import whole_file

RECORD = "training.json"
# Rows of loss.csv, evenly spaced over the length.
_ROWS = 200
_CHECKPOINT_EVERY_S = 60.0
_PICTURES = 12


def train(
    config: TrainingConfig,
    data: Sequence[Path],
    out: Path,
    cards: Cards,
    fold: int | None = 0,
    start: Path | None = None,
) -> None:
    """Train to the end, going on from out/checkpoint.pt where there is one.

    fold: which group of patients is kept for validation; None learns from all and validates none.
    start: a folder of weights to begin from instead of random ones, those of fewer classes too; the
    coarse network in it goes along with a fine one.
    Leaves in out: best/ and last/ (averaged weights and spec), loss.csv, validation.csv,
    curves.png, validation.png, patches.png, training.json. Raises TrainingRefused before the
    first step.
    """
    if fold is None and isinstance(config.schedule, PlateauSchedule):
        raise TrainingRefused("a plateau schedule needs validation: choose a fold")
    files = _found(data)
    groups = deal(list(files), config.folds, config.development, config.same_patient)
    learn, judge = split(groups, fold)
    out.mkdir(parents=True, exist_ok=True)
    state = TrainingState(config, cards)
    record: dict[str, object] = {"config": asdict(config), "learn": learn, "validate": judge}
    begun = _begin_from(start, state, config) if start is not None else None
    if begun:
        record["start"] = begun.sha256
    _refuse_another(out, record)
    patients = len({patient_of(name, config.same_patient) for name in learn})
    run = _Run(config, out, state, cards, [files[name] for name in judge], learn, patients, begun)
    cards.first_alone(lambda: _write_record(out, record))
    run.go([files[name] for name in learn])


def _found(data: Sequence[Path]) -> dict[str, CaseFiles]:
    found: dict[str, CaseFiles] = {}
    for folder in data:
        for case in find_cases(folder):
            if case.name in found:
                raise TrainingRefused(told_twice(case, found[case.name]))
            found[case.name] = case
    _refuse_twins(list(found.values()))
    return found


def _refuse_twins(cases: Sequence[CaseFiles]) -> None:
    """One CT under two names would be learnt from and judged on; files of other sizes differ."""
    by_size: dict[int, list[CaseFiles]] = {}
    for case in cases:
        by_size.setdefault(case.ct.stat().st_size, []).append(case)
    for alike in by_size.values():
        seen: dict[str, CaseFiles] = {}
        for case in alike if len(alike) > 1 else ():
            digest = hashlib.sha256(case.ct.read_bytes()).hexdigest()
            if twin := seen.get(digest):
                raise TrainingRefused(
                    f"{case.ct} and {twin.ct} are one CT under two names: give each case once"
                )
            seen[digest] = case


@dataclass(frozen=True)
class _Start:
    """The weights that a training began from; coarse: the folder of the network beside them."""

    sha256: str
    coarse: Path


def _begin_from(start: Path, state: TrainingState, config: TrainingConfig) -> _Start:
    """Take over the weights in a folder."""
    network, spec = load_model(start, torch.device("cpu"))
    if spec.channels != config.channels or spec.classes > config.classes:
        raise TrainingRefused(
            f"{start} holds {list(spec.channels)} channels and {spec.classes} classes, "
            f"the configuration asks for {list(config.channels)} and {config.classes}: "
            "the channels must be equal, and the classes not fewer, to begin from it"
        )
    state.begin_from(network.state_dict())
    return _Start(spec.sha256, start / COARSE_FOLDER)


def _refuse_another(out: Path, record: dict[str, object]) -> None:
    """Resume nothing but the very same training; it may become longer."""
    path = out / RECORD
    if path.exists() and _but_length(path.read_text()) != _but_length(json.dumps(record)):
        raise TrainingRefused(
            f"{path} records another training (configuration or cases differ): "
            "choose another folder for this one"
        )


def _write_record(out: Path, record: dict[str, object]) -> None:
    with whole_file(out / RECORD) as part:
        part.write_text(json.dumps(record, indent=2) + "\n")


def _but_length(text: str) -> object:
    try:
        found = json.loads(text)
        found["config"].pop("length")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return found


@dataclass
class _Run:
    """One training with the files it leaves."""

    config: TrainingConfig
    out: Path
    state: TrainingState
    cards: Cards
    judge: list[CaseFiles]
    learn: list[str]
    patients: int
    start: _Start | None = None
    began_s: float = 0.0
    saved_s: float = 0.0

    def __post_init__(self) -> None:
        self.checkpoint = self.out / "checkpoint.pt"
        self.before_cooldown = self.out / "before_cooldown.pt"
        self.loss = Curve(self.out / "loss.csv", ("loss", "learning_rate"))
        self.validation = Curve(self.out / "validation.csv", ("case", "dsc", "volume_ratio"))
        if self.checkpoint.exists():
            self._go_on()
        self.cards.first_alone(self._begin_curves)

    def _go_on(self) -> None:
        """From the checkpoint; where the training becomes longer, from before its way down."""
        same_length = self.state.load(self.checkpoint)
        if not same_length and self.state.cooling:
            self.state.load(self.before_cooldown)
        if not same_length and self.state.done >= 1:
            raise TrainingRefused(
                f"{self.out} has learnt from {self.state.patches} patches for "
                f"{self.state.seconds / 60:.1f} minutes already: choose a greater length"
            )

    def _begin_curves(self) -> None:
        if self.cards.first:
            for curve in (self.loss, self.validation):
                curve.begin(self.state.patches)

    def go(self, learn: Sequence[CaseFiles]) -> None:
        state = self.state
        if state.done >= 1 or state.schedule.stopped:
            return
        patches = self._all_read(learn)
        if self.cards.first:
            some = [patches[index] for index in range(_PICTURES)]
            save_picture(pictures_of(some), self.out / "patches.png")
        self.saved_s = time.monotonic()
        self.began_s = self.saved_s - state.seconds
        with tqdm(
            initial=state.patches, unit="patch", mininterval=1, disable=not self.cards.first
        ) as progress:
            self._learn(patches, progress)

    def _all_read(self, learn: Sequence[CaseFiles]) -> Patches:
        """Every case is refused now, not after a thousand steps, and all bad ones together."""
        source = MonaiPatches if self.config.patches == "monai" else PaintedPatches
        try:
            for files in self.judge:
                read_case(files)
            return source(learn, self.config, self.cards.device)
        except TrainingRefused:
            with Refusals() as refusals:
                for files in (*self.judge, *learn):
                    refusals.but(read_case, files)
            raise

    def _learn(self, patches: Patches, progress: tqdm[NoReturn]) -> None:
        state, done = self.state, self.cards.agreed(self.state.done)
        while done < 1 and not state.schedule.stopped:
            if not state.cooling and state.schedule.cools(done):
                self._save(self.before_cooldown)
                state.cooling = True
            state.learn(
                Batch.of(
                    [patches[index] for index in self.cards.own(state.patches, self.config.batch)]
                ),
                done,
            )
            before, done = done, self._done_by_now()
            self._write_down(before, done)
            progress.update(state.patches - progress.n)
            progress.set_postfix(done=f"{done:.0%}", refresh=False)

    def _done_by_now(self) -> float:
        self._look_at_the_clock()
        return self.cards.agreed(self.state.done)

    def _look_at_the_clock(self) -> None:
        self.state.seconds = time.monotonic() - self.began_s

    def _write_down(self, before: float, done: float) -> None:
        """Rows of the curves, a validation and a checkpoint, each where it is due."""
        state = self.state
        if _passed(before, done, _ROWS) and state.losses:
            if self.cards.first:
                self.loss.append(state.patches, float(np.mean(state.losses)), state.learning_rate)
            state.losses.clear()
        validates = _passed(before, done, self.config.validations)
        if validates:
            self._validate()
        if validates or time.monotonic() - self.saved_s > _CHECKPOINT_EVERY_S:
            self._look_at_the_clock()
            self._save(self.checkpoint)
            self.saved_s = time.monotonic()

    def _save(self, path: Path) -> None:
        if self.cards.first:
            self.state.save(path)

    def _validate(self) -> None:
        """The first card does, and tells the others what came out."""
        state, scores = self.state, list[Score]()
        if self.cards.first:
            scores = [validate(state.average, read_case(f), self.config) for f in self.judge]
            for score in scores:
                self.validation.append(state.patches, score.name, score.dsc, score.volume_ratio)
        found = np.mean([score.dsc for score in scores]) if scores else float("-inf")
        mean_dsc = self.cards.agreed(float(found))
        if self.judge:
            state.schedule.after_validation(mean_dsc)
        better, state.best_dsc = mean_dsc > state.best_dsc, max(mean_dsc, state.best_dsc)
        if self.cards.first:
            self._keep(scores, better)

    def _keep(self, scores: list[Score], better: bool) -> None:
        """Weights and pictures."""
        spec = self._spec(scores)
        for name in ("last", "best") if better else ("last",):
            save_weights(self.state.average, spec, self.out / name)
            if self.config.role == "fine" and self.start and self.start.coarse.is_dir():
                beside = self.out / name / COARSE_FOLDER
                shutil.copytree(self.start.coarse, beside, dirs_exist_ok=True)
        if scores:
            pictures = montage([[score.picture] for score in scores])
            save_picture(pictures, self.out / "validation.png")
        draw_curves(self.loss, self.validation, self.out / "curves.png")

    def _training_data(self) -> str:
        begun = f", after those of weights {self.start.sha256[:12]}" if self.start else ""
        return f"{self.patients} patients{begun}"

    def _spec(self, scores: list[Score]) -> ModelSpec:
        config, state = self.config, self.state
        accuracy = "not measured"
        if scores:
            dsc = [score.dsc for score in scores]
            accuracy = (
                f"DSC {np.mean(dsc):.4f} ({min(dsc):.4f}-{max(dsc):.4f}) on {len(dsc)} CT of "
                "patients not learnt from, before cleaning"
            )
        return ModelSpec(
            name=f"liver-unet {config.role}",
            spacing_mm=config.spacing_mm,
            window_hu=config.window_hu,
            patch=config.patch,
            channels=config.channels,
            classes=config.classes,
            training_data=self._training_data(),
            accuracy=accuracy,
            licence="what the training data's terms allow",
            role=config.role,
            class_names=CLASS_NAMES[: config.classes],
            data_sha256=hashlib.sha256("\n".join(self.learn).encode()).hexdigest(),
            patches_seen=state.patches,
            seconds=round(state.seconds, 1),
            processor=f"{self.cards.count} x {self.cards.processor}",
        )


def _passed(before: float, done: float, count: int) -> bool:
    """Whether one of so many evenly spaced marks, the last at the end, lies in between."""
    first, last = (math.floor(min(share, 1.0) * count + 1e-6) for share in (before, done))
    return last > first
