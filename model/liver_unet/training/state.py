"""What a checkpoint holds, and the one step that changes it."""

from __future__ import annotations

import copy
import io
import pickle  # nosec B403 # for the name of an error alone
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from liver_unet.inference import fastest_precision
from liver_unet.model_errors import TrainingRefused
from liver_unet.network import build_network, to_device
from liver_unet.training.cards import Cards
from liver_unet.training.config import TrainingConfig
from liver_unet.training.losses import LOSSES, Batch
from liver_unet.training.schedules import build_schedule
from liver_unet.training.widened import Weights, widened
from liver_unet.whole_file import whole_file

_LARGEST_GRADIENT = 5.0
# A step that gives no number costs a step; so many in a row are the end.
_MOST_LOST = 20
# What torch raises where a checkpoint is not what it was.
_DAMAGED = (RuntimeError, ValueError, LookupError, TypeError, EOFError, pickle.UnpicklingError)


class TrainingState:
    """Network, the running average of its weights, optimiser, schedule, how far it is.

    cooling: on the last way down of the learning rate. losses: since they were last written down.
    """

    def __init__(self, config: TrainingConfig, cards: Cards) -> None:
        torch.manual_seed(config.seed)
        self.patches = 0
        self.seconds = 0.0
        self.cooling = False
        self.best_dsc = float("-inf")
        self.losses: list[float] = []
        self.network = to_device(build_network(config.channels, config.classes), cards.device)
        self.average = copy.deepcopy(self.network).eval()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.schedule = build_schedule(config, self.optimizer)
        self._learning = cards.learning(self.network)
        self._loss = LOSSES[config.loss]()
        self._config = config
        self._cards = cards
        self._lost = 0

    @property
    def learning_rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def done(self) -> float:
        """The share of the length that is behind it."""
        return self._config.length.done(self.patches, self.seconds)

    def begin_from(self, weights: Weights) -> None:
        """Take these weights over, those of fewer classes too."""
        ours = widened(weights, self.network.state_dict(), self._config.classes)
        self.network.load_state_dict(ours)
        self.average.load_state_dict(ours)

    def save(self, path: Path) -> None:
        """Write a checkpoint to go on from."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "length": asdict(self._config.length),
            **{name: getattr(self, name) for name in _PROGRESS},
        }
        # torch calls a full disk a RuntimeError where it writes to it itself.
        content = io.BytesIO()
        torch.save(state, content)
        with whole_file(path) as part:
            part.write_bytes(content.getbuffer())

    def load(self, path: Path) -> bool:
        """Go on from a checkpoint; returns whether it is one of a training of this length."""
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            for name in ("network", "average", "optimizer", "schedule"):
                getattr(self, name).load_state_dict(state[name])
            for name in _PROGRESS:
                setattr(self, name, state[name])
            return bool(state["length"] == asdict(self._config.length))
        except _DAMAGED as error:
            raise TrainingRefused(
                f"{path} cannot be gone on from ({type(error).__name__}): the file is damaged, or "
                "of another version; delete it to begin anew, or name another folder"
            ) from error

    def learn(self, batch: Batch, done: float) -> None:
        """Take one step; done: the share of the length behind it, the same for all cards."""
        config, cards = self._config, self._cards
        # Dropout must not depend on how often the training was interrupted before.
        torch.manual_seed(config.seed + self.patches + cards.rank)
        self.schedule.before_step(self.patches, done)
        loss = self._loss(self._logits(batch.image), batch)
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        self.patches += config.batch * cards.count
        if not bool(torch.isfinite(norm)):
            self._lose_a_step()
            return
        self._lost = 0
        self.losses.append(float(loss.detach()))
        self.optimizer.step()
        self._follow()

    def _logits(self, image: torch.Tensor) -> torch.Tensor:
        """In bf16 where the processor computes in it; emulated it would be slower than float32."""
        device = self._cards.device
        half = fastest_precision(device) == torch.bfloat16
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            logits = self._learning(image.contiguous(memory_format=torch.channels_last_3d))
        answer: torch.Tensor = logits.float()
        return answer

    def _lose_a_step(self) -> None:
        self._lost += 1
        if self._lost >= _MOST_LOST:
            raise TrainingRefused(
                f"{self._lost} steps in a row up to patch {self.patches} gave gradients that are "
                "no numbers; the last checkpoint is intact: go on from there with a lower "
                "learning rate"
            )

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the network, faster while it is young."""
        steps = self.patches / (self._config.batch * self._cards.count)
        decay = min(self._config.average_decay, steps / (steps + 10))
        ours, network = (
            list[torch.Tensor](one.parameters()) for one in (self.average, self.network)
        )
        torch._foreach_lerp_(ours, network, 1 - decay)


_PROGRESS = ("patches", "seconds", "cooling", "best_dsc", "losses")
