"""What a training does, read from a TOML file; every key is a field here."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from liver_unet.model_errors import TrainingRefused
from liver_unet.training.augmentation import Augmentation
from liver_unet.training.bounds import COUNT, FINITE, NOT_NEGATIVE, POSITIVE, Bounds, check
from liver_unet.training.length import ByMinutes, ByPatches
from liver_unet.training.shares import Shares
from liver_unet.training.tissues import CLASSES

SHIPPED = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class PlateauSchedule:
    """Multiply the learning rate by factor after `patience` validations without a better one.

    After `stop_after` of them the training ends: early stopping.
    """

    factor: float
    patience: int
    stop_after: int

    def __post_init__(self) -> None:
        below_1 = Bounds(0, 1, without_low=True, without_high=True)
        check(self, {"factor": below_1, "patience": NOT_NEGATIVE, "stop_after": COUNT})


@dataclass(frozen=True)
class TrapezoidSchedule:
    """Warm up over so many patches, stay, and for the last share of the length go down to nothing.

    The state before the way down is kept: a longer training goes on from it.
    """

    warmup: int
    cooldown: float

    def __post_init__(self) -> None:
        check(self, {"warmup": COUNT, "cooldown": Bounds(0, 1, without_low=True)})


_BOUNDS = {
    "spacing_mm": Bounds(0.1, 50),
    "window_hu": FINITE,
    "patch": COUNT,
    "channels": COUNT,
    "learning_rate": POSITIVE,
    "weight_decay": NOT_NEGATIVE,
    "average_decay": Bounds(0, 1, without_high=True),
    "validations": COUNT,
    "seed": NOT_NEGATIVE,
    "folds": Bounds(2),
    "reach_mm": NOT_NEGATIVE,
}


@dataclass(frozen=True)
class TrainingConfig:
    """Lengths in mm, window in HU; patch is (slice, row, column) voxels.

    patches: who makes them, see patches.py and monai_patches.py; those of MONAI know no reach_mm,
    shares and augmentation. role: what a segmenter uses it for. reach_mm: how much of a scan above
    and below the liver is learnt from.
    classes: 2, liver and rest, or those of tissues.py. batch: patches a step, of each card.
    average_decay: of the running average of the weights, per step; 0 keeps none.
    validations: how many there are, evenly spaced over the length.
    folds: the patients are dealt into so many groups, each validated on once. development: the
    cases of the first group where the data holds them; same_patient: volumes of one patient; see
    patients.py. shares: of the patches, by kind of case.
    """

    patches: Literal["monai", "painted"]
    loss: Literal["dice_focal", "dice_ce_organs"]
    schedule: PlateauSchedule | TrapezoidSchedule
    length: ByPatches | ByMinutes
    spacing_mm: float
    window_hu: tuple[float, float]
    patch: tuple[int, int, int]
    channels: tuple[int, ...]
    classes: int
    batch: int
    learning_rate: float
    weight_decay: float
    average_decay: float
    validations: int
    seed: int
    folds: int
    development: tuple[str, ...]
    same_patient: tuple[tuple[str, ...], ...]
    role: Literal["fine", "coarse"] = "fine"
    reach_mm: float = 2000.0
    shares: Shares = field(default_factory=Shares)
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        check(self, _BOUNDS)
        if len(self.channels) < 2:
            raise TrainingRefused(f"channels = {list(self.channels)}: must be at least two numbers")
        halvings = 2 ** (len(self.channels) - 1)
        if any(n % halvings for n in self.patch):
            raise TrainingRefused(
                f"patch = {list(self.patch)}: {len(self.channels)} channels halve the patch "
                f"{len(self.channels) - 1} times, so each side must be a multiple of {halvings}"
            )
        # oneDNN's bf16 weight gradient of a 3x3x3 convolution over exactly two slices reads memory
        # it has not written (torch 2.13 on CPU): now and then a gradient is no number.
        if self.patch[0] < 3 * halvings:
            raise TrainingRefused(
                f"patch = {list(self.patch)}: at least {3 * halvings} slices are needed, "
                "so that three are left in the deepest layer"
            )
        if self.window_hu[0] >= self.window_hu[1]:
            raise TrainingRefused(
                f"window_hu = {list(self.window_hu)}: the lower bound must come first"
            )
        if self.batch < 2:
            raise TrainingRefused(
                f"batch = {self.batch}: must be at least 2; from two patches on torch has fast "
                "convolutions for the deep layers on a CPU"
            )
        if self.classes not in (2, CLASSES):
            raise TrainingRefused(f"classes = {self.classes}: must be 2 or {CLASSES}")
        self._refuse_unclear_patients()

    def _refuse_unclear_patients(self) -> None:
        seen: set[str] = set()
        for group in self.same_patient:
            if len(group) < 2 or seen & set(group):
                raise TrainingRefused(
                    f"same_patient = [..., {list(group)}]: each group must name all volumes of a "
                    "patient, two or more, and no volume may be in two groups"
                )
            seen |= set(group)


def load_config(name_or_path: str | Path) -> TrainingConfig:
    """Read a shipped configuration by its name, or any by its path; raises TrainingRefused."""
    path = Path(name_or_path)
    if not path.suffix:
        path = SHIPPED / f"{name_or_path}.toml"
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        shipped = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.toml")))
        raise TrainingRefused(
            f"configuration {name_or_path} cannot be read ({error.strerror}): "
            f"give the path of a .toml file or one of these names: {shipped}"
        ) from error
    except ValueError as error:
        raise TrainingRefused(f"{path} is not TOML: {error}") from error
    try:
        return TrainingConfig(**_parsed(TrainingConfig, found))
    except TrainingRefused as refusal:
        raise TrainingRefused(f"{path}: {refusal}") from refusal


def _parsed(kind: type, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments of a dataclass, every one checked against its type."""
    types = get_type_hints(kind)
    known = {one.name: one.default is one.default_factory is MISSING for one in fields(kind)}
    if unknown := sorted(found.keys() - known.keys()):
        raise TrainingRefused(f"unknown setting {unknown[0]!r}; known are {', '.join(known)}")
    if missing := [name for name, needed in known.items() if needed and name not in found]:
        raise TrainingRefused(f"setting {missing[0]!r} is missing")
    return {name: _value(name, value, types[name]) for name, value in found.items()}


def _value(name: str, found: Any, kind: Any) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        if found in parts:
            return found
        raise TrainingRefused(f"{name} = {found!r}: must be one of {', '.join(parts)}")
    if origin is UnionType:
        return _one_of(name, found, parts)
    if is_dataclass(kind) and isinstance(kind, type):
        if isinstance(found, dict):
            return kind(**_parsed(kind, found))
        raise TrainingRefused(f"{name} = {found!r}: must be a table, [{name}]")
    if origin is tuple and isinstance(found, list):
        inner = parts[:1] * len(found) if parts[-1] is Ellipsis else parts
        if len(inner) == len(found):
            return tuple(_value(name, v, k) for v, k in zip(found, inner, strict=True))
        raise TrainingRefused(f"{name} = {found!r}: must hold {len(inner)} values")
    if kind is float and type(found) in (int, float):
        return float(found)
    if type(found) is kind:
        return found
    raise TrainingRefused(f"{name} = {found!r}: must be {_WORDS.get(origin or kind, kind)}")


_WORDS = {
    float: "a number",
    int: "a whole number",
    str: "text in quotes",
    tuple: "a list in square brackets",
}


def _one_of(name: str, found: Any, kinds: tuple[type, ...]) -> Any:
    """A table becomes the dataclass that has exactly its keys."""
    for kind in kinds:
        if isinstance(found, dict) and found.keys() == {one.name for one in fields(kind)}:
            return kind(**_parsed(kind, found))
    keys = " or ".join(", ".join(one.name for one in fields(kind)) for kind in kinds)
    raise TrainingRefused(f"[{name}] must hold exactly: {keys}")
