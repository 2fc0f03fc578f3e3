"""What a checkpoint holds, and the one step that changes it."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn

from liver_unet.model_errors import TrainingRefused
from liver_unet.network import build_network, to_device
from liver_unet.training.config import TrainingConfig
from liver_unet.training.losses import LOSSES
from liver_unet.training.schedules import build_schedule


class TrainingState:
    """Network, the running average of its weights, optimiser, schedule, step."""

    def __init__(self, config: TrainingConfig, device: torch.device) -> None:
        torch.manual_seed(config.seed)
        self.step = 0
        self.best_dsc = float("-inf")
        self.network = to_device(build_network(config.channels, config.classes), device)
        self.average = copy.deepcopy(self.network).eval()
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.schedule = build_schedule(config, self.optimizer)
        self._start: dict[str, torch.Tensor] | None = None
        self._loss = LOSSES[config.loss]()
        self._config = config
        self._device = device

    @property
    def learning_rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    def begin_from(self, weights: dict[str, torch.Tensor]) -> None:
        """Take these weights over; where the step is not 0, load() comes after."""
        self.network.load_state_dict(weights)
        self.average.load_state_dict(weights)
        self._start = copy.deepcopy(self.average.state_dict())

    @torch.no_grad()
    def kept(self) -> nn.Module:
        """The network worth keeping: the average, drawn back towards what it began from."""
        kept = copy.deepcopy(self.average)
        if self._start is not None:
            for name, mean in kept.named_parameters():
                mean.lerp_(self._start[name], self._config.start_share)
        return kept

    def save(self, path: Path) -> None:
        """Never leave half a checkpoint: a kill while writing keeps the former one."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "best_dsc": self.best_dsc,
            "schedule": self.schedule.state_dict(),
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        state = torch.load(path, map_location=self._device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.best_dsc = state.get("best_dsc", float("-inf"))
        self.schedule.load_state_dict(state.get("schedule", {}))

    def learn(self, image: torch.Tensor, classes: torch.Tensor, known: torch.Tensor) -> float:
        """Take one step; return its loss."""
        # Dropout must not depend on how often the training was interrupted before.
        torch.manual_seed(self._config.seed + self.step)
        self.schedule.before_step(self.step)
        image = image.to(self._device, memory_format=torch.channels_last_3d)
        with torch.autocast(self._device.type, torch.bfloat16):
            logits = self.network(image)
        loss = self._loss(logits.float(), classes.to(self._device), known.to(self._device))
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        if not bool(torch.isfinite(norm)):
            raise TrainingRefused(
                f"step {self.step + 1} gave a gradient that is no number; the last checkpoint is "
                "intact: start again to go on from there, with a lower learning rate if it recurs"
            )
        self.optimizer.step()
        self.step += 1
        self._follow()
        return float(loss.detach())

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the network, faster while it is young."""
        decay = min(self._config.average_decay, self.step / (self.step + 10))
        for mean, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)
